// The API key: asked for where the API wants one, and kept in this tab alone.

import { key } from "./api.js";

const form = document.querySelector("#key");
const forget = document.querySelector("#forget-key");

/** Has `changed` called when there is another key, or none any more. */
export function open(changed) {
  forget.hidden = !key.get();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    key.set(form.elements.key.value.trim());
    form.hidden = true;
    form.reset();
    forget.hidden = false;
    changed();
  });
  forget.addEventListener("click", () => {
    key.forget();
    forget.hidden = true;
    changed();
  });
}

/** Asks for a key, since the API wants another. */
export function request() {
  if (!form.hidden) return;
  document.querySelector("#key-problem").textContent = key.get() ? "That key is not let in." : "";
  form.hidden = false;
  form.elements.key.focus();
}
