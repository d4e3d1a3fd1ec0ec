//! Quotas are exact: the admission of databases against a real API server, with several controllers and facades in this
//! process, and faults between them. No database is made: CloudNativePG's kinds are not installed.

mod campaign;
mod history;
mod mistakes;
mod mixed;
mod order;
mod rest;
mod stage;
