//! Figures, see below.
