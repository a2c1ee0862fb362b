// What waits for each runtime.

const list = document.querySelector("#queues");

export function show(runtimes) {
  list.replaceChildren(
    ...runtimes.map(({ name, queue }) => {
      const item = document.createElement("li");
      item.append(bold(name), queue ? ` ${queue.waiting} waiting, ${queue.taken} at work` : " queue not known");
      return item;
    }),
  );
}

function bold(text) {
  const element = document.createElement("b");
  element.textContent = text;
  return element;
}
