//! A controller that ends at a chosen one of its writes, before or after the write has its effect, as a crash would end
//! it; and what it wrote until then.

use std::sync::{Arc, Mutex, PoisonError};

use daap_controller::{RunError, Surroundings, settings::Settings};
use daap_tests::{
    faults::Side,
    faulty_client::{Asked, Fault, faulty_client},
};
use http::Method;
use tokio::{sync::watch, task::JoinHandle};
use uuid::Uuid;

use crate::world::World;

/// At which write it ends.
#[derive(Debug, Clone, Copy)]
pub struct Doom {
    /// Which write, from zero.
    pub nth: usize,
    /// On which side of its effect.
    pub side: Side,
}

/// What a controller wrote: the method, and the path without its query.
pub type Writes = Vec<(Method, String)>;

/// A controller in this process that may be about to end.
pub struct Mortal {
    shared: Arc<Mutex<Shared>>,
    died: watch::Receiver<bool>,
    task: JoinHandle<Result<(), RunError>>,
}

#[derive(Default)]
struct Shared {
    writes: Writes,
    doom: Option<Doom>,
}

impl Mortal {
    /// One that lives until it is [doomed](Self::doom). It competes with no other: whoever was before it is dead.
    pub fn start(
        world: &World,
        surroundings: Surroundings,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let (dying, died) = watch::channel(false);
        let asked = Arc::clone(&shared);
        let client = faulty_client(world.control_plane.config(), move |request| {
            let fault = asked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .fate(request);
            if matches!(fault, Fault::Death | Fault::DeathBefore) {
                dying.send_replace(true);
            }
            fault
        });
        let mut settings = Settings::from_defaults().unwrap();
        settings.http_listen = ([127, 0, 0, 1], 0).into();
        settings.lease_name = format!("daap-{}", Uuid::new_v4());
        change(&mut settings);
        let run =
            daap_controller::run_in(surroundings, settings, client.unwrap(), Default::default());
        Self {
            shared,
            died,
            task: tokio::spawn(run),
        }
    }

    /// From now on writes count, and one of them is the last, if any is to be.
    pub fn doom(&self, doom: Option<Doom>) {
        *self.shared.lock().unwrap() = Shared {
            writes: Writes::new(),
            doom,
        };
    }

    /// Returns when it has died.
    pub async fn death(&self) {
        // The sender lives as long as the client, and that as long as this.
        let _ = self.died.clone().wait_for(|died| *died).await;
    }

    /// Whether it has died.
    pub fn is_dead(&self) -> bool {
        *self.died.borrow()
    }

    /// Ends it where it stands, and tells what it wrote since it was doomed.
    pub async fn end(self) -> Writes {
        self.task.abort();
        // Ending by itself would be wrong: it was asked for nothing.
        assert!(self.task.await.unwrap_err().is_cancelled());
        std::mem::take(&mut self.shared.lock().unwrap().writes)
    }
}

impl Shared {
    fn fate(&mut self, request: Asked<'_>) -> Fault {
        let path = request.path.split('?').next().unwrap_or_default();
        let is_write = *request.method != Method::GET
            && !path.contains("/leases")
            && !path.contains("/events");
        if !is_write {
            return Fault::None;
        }
        let index = self.writes.len();
        let side = self
            .doom
            .filter(|doom| doom.nth == index)
            .map(|doom| doom.side);
        if side != Some(Side::Before) {
            let write = (request.method.clone(), path.to_owned());
            self.writes.push(write);
        }
        match side {
            None => Fault::None,
            Some(Side::Before) => Fault::DeathBefore,
            Some(Side::After) => Fault::Death,
        }
    }
}
