//! The controller against the real API server. No PostgreSQL runs: CloudNativePG's part is scripted, for what cannot be
//! provoked on the real operator at will, or not a hundred times at once.

mod backups;
mod conformance;
mod idle;
mod lifecycle;
mod object_store;
