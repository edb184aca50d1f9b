//! Which pages a process writes, seen from outside it.
