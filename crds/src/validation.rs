//! The CRDs' own rules, run without an API server. Pure.
