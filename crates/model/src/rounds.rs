//! What a pre-copy in rounds leads to.
