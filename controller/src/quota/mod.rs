//! Quotas: whether a database may be admitted to its tier. Pure.

pub mod admission;
