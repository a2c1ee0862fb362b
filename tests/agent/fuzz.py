"""What fuzzing tests share: all kinds of JSON, and how much of it: `FUZZ_EXAMPLES=20000 pytest -k any_` for a night."""

import os

from hypothesis import settings
from hypothesis import strategies as st

fuzzed = settings(deadline=None, max_examples=int(os.environ.get("FUZZ_EXAMPLES", "40")))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
