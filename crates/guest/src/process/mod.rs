//! The test machine: a plain process whose threads write shared memory.
