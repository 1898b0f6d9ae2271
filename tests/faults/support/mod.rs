//! What the other tests stand on, too.

#[path = "../../it/support/arrow.rs"]
pub(crate) mod arrow;
#[path = "../../it/support/cluster.rs"]
pub(crate) mod cluster;
#[path = "../../it/support/coding.rs"]
pub(crate) mod coding;
#[path = "../../it/support/proxy.rs"]
pub(crate) mod proxy;
#[path = "../../it/support/service.rs"]
pub(crate) mod service;
