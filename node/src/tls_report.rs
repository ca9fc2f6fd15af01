//! `securanet tls-report`: what other domains are told of TLS with them (RFC 8460).

use hyper::Method;
use serde_json::json;

use crate::{
    api::{AdminApi, escape},
    cli::TlsReport,
    commands::print_table,
};

/// `securanet tls-report`
pub(crate) async fn tls_report(api: &AdminApi, action: TlsReport) -> anyhow::Result<()> {
    let path = |day: &str| format!("/v1/tls-reports/{}", escape(day));
    match action {
        TlsReport::List { day } => {
            let rows = api.rows(&path(&day)).await?;
            let columns = [
                ("domain", "domain"),
                ("successes", "successes"),
                ("failures", "failures"),
                ("due", "due_unix_millis"),
            ];
            print_table(&columns, &rows);
        }
        TlsReport::Send { day, domain } => {
            let domains: Vec<String> = domain.into_iter().collect();
            let answer = api.json(Method::POST, &path(&day), Some(json!({ "domains": domains }))).await?;
            println!("{} reports of {day} are sent within a minute", answer["reports"]);
        }
    }
    Ok(())
}
