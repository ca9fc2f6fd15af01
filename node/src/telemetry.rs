//! Logs and metrics of the process.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Log, LogFormat};

/// Bucket bounds of all histograms in seconds: from one fsync to a client's patience.
const SECONDS: [f64; 14] = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0];

/// Sets the log up; lines go to standard error.
pub(crate) fn start_log(log: &Log) -> anyhow::Result<()> {
    let filter = match &log.filter {
        Some(filter) => EnvFilter::try_new(filter).map_err(|error| {
            anyhow::anyhow!("log.filter: {error}; write for instance \"info,securanet_smtp=debug\"")
        })?,
        // openraft warns of every message that an election overtakes; what an operator needs to know of a group is in
        // our own lines and in `securanet status`.
        None => EnvFilter::new("info,openraft=error"),
    };
    let registry = tracing_subscriber::registry().with(filter);
    match log.format {
        LogFormat::Human => registry
            .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(false))
            .try_init()?,
        LogFormat::Json => {
            registry.with(tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr)).try_init()?;
        }
    }
    Ok(())
}

/// Sets the metrics up and gives what renders them.
pub(crate) fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?;
    Ok(builder.install_recorder()?)
}
