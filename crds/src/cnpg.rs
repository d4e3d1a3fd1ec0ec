//! The fields of CloudNativePG and Barman Cloud objects that DAAP owns or reads. Pure.
