//! Reports about TLS to other domains (RFC 8460): which a day has, and sending them now.

use axum::{Json, extract::State};
use jiff::civil::Date;
use securanet_gateway::model::{
    DomainName,
    directory::{DirectoryAnswer, DirectoryCommand, DirectoryQuery},
    tls_report::TLS_COMMAND_DOMAINS_MAX,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Api, ApiError, Problem, domains::change, input, input::Named};

/// Rows of one page of the directory.
const PAGE_ROWS: u32 = 1000;

/// A domain that a day has a report to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReportView {
    /// Whom it is for.
    domain: String,
    /// Sessions with TLS as its policy wants it.
    successes: u64,
    /// Sessions without.
    failures: u64,
    /// When it is due, in milliseconds since 1970; none: it was sent.
    due_unix_millis: Option<u64>,
}

/// What to send.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sending {
    /// To these alone; without any, to all.
    #[serde(default)]
    domains: Vec<String>,
}

/// How many reports are sent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SendingView {
    /// Reports that are due now.
    reports: usize,
}

/// Days since 1970.
fn day_of(text: &str) -> Result<u32, ApiError> {
    let wrong = || ApiError::unprocessable(format!("{text:?} is no day: write it as 2026-11-22"));
    let date: Date = text.parse().map_err(|_| wrong())?;
    let epoch = Date::constant(1970, 1, 1);
    u32::try_from((date - epoch).get_days()).map_err(|_| wrong())
}

async fn domains_of(api: &Api, day: u32) -> Result<Vec<DomainName>, ApiError> {
    let mut domains: Vec<DomainName> = Vec::new();
    loop {
        let after = domains.last().cloned();
        let query = DirectoryQuery::TlsReportDomains { day, after, rows_max: PAGE_ROWS };
        let DirectoryAnswer::TlsReportDomains(page) = api.client.ask_directory(query).await? else {
            return Err(ApiError::internal("the store answered out of turn"));
        };
        if page.is_empty() {
            return Ok(domains);
        }
        domains.extend(page);
    }
}

/// Lists the reports of a day (UTC), sorted by domain.
#[utoipa::path(get, path = "/v1/tls-reports/{day}", params(("day" = String, Path)),
    responses((status = 200, body = [ReportView]), (status = 422, body = Problem)))]
pub(crate) async fn list(State(api): State<Api>, Named(day): Named<String>) -> Result<Json<Vec<ReportView>>, ApiError> {
    let day = day_of(&day)?;
    let mut views = Vec::new();
    for domain in domains_of(&api, day).await? {
        let query = DirectoryQuery::TlsReport { day, domain };
        let DirectoryAnswer::TlsReport(report) = api.client.ask_directory(query).await? else {
            return Err(ApiError::internal("the store answered out of turn"));
        };
        views.extend(report.map(|report| ReportView {
            successes: report.counts.policies.iter().map(|policy| policy.successes).sum(),
            failures: report.counts.policies.iter().map(|policy| policy.failures).sum(),
            due_unix_millis: report.due.map(|due| due.get()),
            domain: report.counts.domain.to_string(),
        }));
    }
    Ok(Json(views))
}

/// Has reports of a day sent within a minute, whether they were sent before or not.
#[utoipa::path(post, path = "/v1/tls-reports/{day}", params(("day" = String, Path)), request_body = Sending,
    responses((status = 200, body = SendingView), (status = 422, body = Problem)))]
pub(crate) async fn send(
    State(api): State<Api>,
    Named(day): Named<String>,
    input::Json(sending): input::Json<Sending>,
) -> Result<Json<SendingView>, ApiError> {
    let day = day_of(&day)?;
    let mut domains = domains_of(&api, day).await?;
    if !sending.domains.is_empty() {
        let wanted = sending.domains.iter().map(|domain| DomainName::parse(domain)).collect::<Result<Vec<_>, _>>()?;
        domains.retain(|domain| wanted.contains(domain));
    }
    for some in domains.chunks(TLS_COMMAND_DOMAINS_MAX) {
        change(&api, DirectoryCommand::SendTlsReports { day, domains: some.to_vec() }).await?;
    }
    Ok(Json(SendingView { reports: domains.len() }))
}
