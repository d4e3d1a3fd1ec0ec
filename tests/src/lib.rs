//! The test harness of DAAP, and the cluster it runs on.

#[path = "../cluster/mod.rs"]
pub mod cluster;
pub mod faults;
pub mod faulty_client;
pub mod installation;
pub mod recording_client;
pub mod rest;
pub mod s3_server;
pub mod scripted_cnpg;
mod scripted_volumes;
pub mod stand_in_archives;
pub mod tenant_postgres;
