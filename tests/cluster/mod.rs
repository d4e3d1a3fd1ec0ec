//! A real Kubernetes with CloudNativePG on one machine.

pub mod artifacts;
pub mod certificates;
pub mod child;
pub mod cnpg;
pub mod components;
pub mod control_plane;
pub mod deployment;
pub mod existing;
pub mod k3d;
pub mod kubeconfig;
pub mod manifest;
pub mod node;
pub mod object_store;
pub mod port_forward;
pub mod postgres;
pub mod process;
pub mod progress;
pub mod provider;
pub mod scratch;
pub mod wait;
