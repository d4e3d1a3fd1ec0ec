//! What is counted, in the OpenMetrics text format. Pure but for its own counters.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use daap_crds::Phase;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::k8s::watch::Freshness;

/// The upper bounds of the durations, in seconds.
const DURATIONS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ControllerLabel {
    controller: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ErrorLabels {
    controller: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WatchLabel {
    kind: &'static str,
}

/// The counters of this process.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    durations: Family<ControllerLabel, Histogram, fn() -> Histogram>,
    errors: Family<ErrorLabels, Counter>,
    databases: Family<PhaseLabel, Gauge>,
    watch_ages: Family<WatchLabel, Gauge<f64, AtomicU64>>,
    leader: Gauge,
    phases: Arc<Mutex<HashMap<String, Phase>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("daap_controller");
        let durations =
            Family::new_with_constructor((|| Histogram::new(DURATIONS)) as fn() -> Histogram);
        let errors = Family::default();
        let databases = Family::default();
        let watch_ages = Family::default();
        let leader = Gauge::default();
        registry.register(
            "reconcile_duration_seconds",
            "How long a run for one object took",
            durations.clone(),
        );
        registry.register(
            "reconcile_errors",
            "Runs that failed, by reason",
            errors.clone(),
        );
        registry.register("databases", "Databases by phase", databases.clone());
        registry.register(
            "watch_age_seconds",
            "How long a watch heard nothing",
            watch_ages.clone(),
        );
        registry.register("leader", "Whether this replica leads", leader.clone());
        Self {
            registry: Arc::new(registry),
            durations,
            errors,
            databases,
            watch_ages,
            leader,
            phases: Arc::default(),
        }
    }
}

impl Metrics {
    /// A run took this long.
    pub fn observe_run(&self, controller: &'static str, duration: Duration) {
        self.durations
            .get_or_create(&ControllerLabel { controller })
            .observe(duration.as_secs_f64());
    }

    /// A run failed.
    pub fn count_error(&self, controller: &'static str, reason: &'static str) {
        self.errors
            .get_or_create(&ErrorLabels { controller, reason })
            .inc();
    }

    /// A database is in this phase.
    pub fn set_phase(&self, uid: &str, phase: Phase) {
        self.phases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(uid.to_owned(), phase);
    }

    /// A database is gone.
    pub fn forget(&self, uid: &str) {
        self.phases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
    }

    /// Whether this replica leads.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Everything that was counted, as text.
    ///
    /// # Errors
    /// When the text cannot be written, which memory excludes.
    pub fn render(&self, freshness: &Freshness) -> Result<String, std::fmt::Error> {
        self.count_phases();
        for (kind, age) in freshness.ages() {
            self.watch_ages
                .get_or_create(&WatchLabel { kind })
                .set(age.as_secs_f64());
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn count_phases(&self) {
        let phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        for phase in Phase::ALL {
            let count = phases.values().filter(|other| **other == phase).count();
            let label = PhaseLabel {
                phase: phase.as_str(),
            };
            self.databases
                .get_or_create(&label)
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_databases_by_their_last_phase() {
        let metrics = Metrics::default();
        metrics.set_phase("a", Phase::Provisioning);
        metrics.set_phase("a", Phase::Ready);
        metrics.set_phase("b", Phase::Ready);
        metrics.forget("b");
        metrics.count_error("database", "Deadline");
        let text = metrics.render(&Freshness::default()).unwrap();
        assert!(
            text.contains("daap_controller_databases{phase=\"ready\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("daap_controller_databases{phase=\"provisioning\"} 0"),
            "{text}"
        );
        assert!(text.contains("reason=\"Deadline\"} 1"), "{text}");
    }
}
