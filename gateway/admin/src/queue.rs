//! The outbound queue: what is on its way out, the life of one message, and an operator's word about it.

use axum::{Json, extract::State};
use securanet_gateway::model::{
    Address, Answer, Command, Freshness, GroupId, Query, RecipientAddress, Reply, ReversePath,
    directory::{DirectoryAnswer, DirectoryQuery},
    outbound::{
        Action, Attempt, Filter, ItemView, Origin, OutboundAnswer, OutboundCommand, OutboundQuery, OutboundReply,
        Outcome, Place, RecipientView, State as RecipientState,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Api, ApiError, Problem, input,
    input::{Asked, Named},
    reroute,
};

/// Items of one page.
const ROWS_MAX: u32 = 200;
/// An item may seem to be older than its log id by this much.
const CLOCK_SKEW_MILLIS: u64 = 600_000;
/// Recipients of one command.
const OPERATE_MAX: usize = 1000;

/// An item as text: its group and its number there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ItemId {
    group: GroupId,
    item: u64,
}

impl ItemId {
    fn parse(text: &str) -> Result<Self, ApiError> {
        let numbers = text.split_once('-').and_then(|(group, item)| Some((group.parse().ok()?, item.parse().ok()?)));
        let unknown =
            || ApiError::unprocessable(format!("{text:?} is no item's id")).remedy("list the queue: it shows them");
        let (group, item) = numbers.ok_or_else(unknown)?;
        // Group 0 is the directory and has no queue.
        if group == 0 { Err(unknown()) } else { Ok(Self { group: GroupId::new(group), item }) }
    }
}

impl std::fmt::Display for ItemId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.group.get(), self.item)
    }
}

/// A message on its way out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueuedView {
    /// What to call it here.
    id: String,
    /// Names it in logs and in its Received field.
    trace_id: String,
    /// Message-ID as written.
    message_id: Option<String>,
    /// The envelope's sender; `<>` for a report.
    sender: String,
    /// Why it may leave: `account 7`, `report`, `relay NAME`, `forward ADDRESS`.
    origin: String,
    /// When it came, in milliseconds since 1970.
    queued_unix_millis: u64,
    /// Octets.
    size_bytes: u64,
    /// Its recipients.
    recipients: Vec<QueuedRecipient>,
}

/// One recipient of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueuedRecipient {
    /// Its number in the message, from 0.
    position: u32,
    /// Who.
    address: String,
    /// What its mail waits with: a domain, an address literal such as `[192.0.2.9]`, or `route:NAME`.
    destination: String,
    /// `waiting`, `taken`, `sending`, `held`, `delivered`, `failed` or `cancelled`.
    state: &'static str,
    /// When the next attempt is due, in milliseconds since 1970; only while waiting.
    due_unix_millis: Option<u64>,
    /// Attempts begun.
    attempts: u32,
    /// Failures that counted as the first attempt or as a retry.
    failures: u32,
    /// Attempts that may have been delivered without our knowing.
    uncertain: u32,
    /// The sender was told of the delay.
    delay_told: bool,
    /// The sender was told of the end, or nobody is to be told.
    end_told: bool,
    /// The attempts, oldest first: the first one and the last fifteen.
    history: Vec<AttemptView>,
}

/// One attempt.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttemptView {
    /// When it ended, in milliseconds since 1970.
    at_unix_millis: u64,
    /// How long it took.
    took_millis: u32,
    /// How it ended: `delivered`, `refused for now`, `connection failed`, ...
    outcome: &'static str,
    /// RFC 3463 status.
    status: String,
    /// The server, as `name [address]:port`.
    host: Option<String>,
    /// TLS version and cipher, or why there was none.
    tls: Option<String>,
    /// The server's last answer, or what went wrong in our words.
    answer: String,
    /// Whether `answer` is the server's.
    answer_is_remote: bool,
}

/// A page of the queue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueuePage {
    /// By group, newest first.
    items: Vec<QueuedView>,
    /// `after` of the next page; null at the end. A page may be empty and not be the last.
    next: Option<String>,
}

/// Which items a listing shows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listing {
    destination: Option<String>,
    sender: Option<String>,
    recipient: Option<String>,
    #[serde(default)]
    ended: bool,
    after: Option<String>,
}

/// An operator's word.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Operation {
    /// `hold`, `release`, `retry`, `cancel` (without a report), `fail` (with a bounce) or `reroute`.
    action: String,
    /// With `reroute`: the new destination, a domain or `route:NAME`.
    to: Option<String>,
    /// Only this item.
    id: Option<String>,
    /// Only recipients that wait for this destination.
    destination: Option<String>,
    /// Only items of this sender; `<>` for reports.
    sender: Option<String>,
    /// Only this recipient.
    recipient: Option<String>,
    /// Everything; needed where nothing else restricts.
    #[serde(default)]
    all: bool,
}

/// What an operator's word came to.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Operated {
    /// Recipients for which it was done.
    changed: u64,
    /// Recipients whose state did not allow it: on their way right now, or ended.
    unchanged: u64,
    /// What the operator should look at once more.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

/// Which Message-ID.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfMessage {
    message_id: String,
}

const fn outcome_text(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered { .. } => "delivered",
        Outcome::TemporaryAnswer => "refused for now",
        Outcome::TemporaryConnection => "connection failed",
        Outcome::TemporaryDns => "DNS failed",
        Outcome::TemporaryTls => "TLS failed",
        Outcome::Permanent => "refused",
        Outcome::NoSuchDomain => "no such domain",
        Outcome::NotTried { .. } => "not tried",
        Outcome::Uncertain => "uncertain",
        Outcome::Expanded => "sent on",
    }
}

const fn state_text(state: RecipientState) -> &'static str {
    match state {
        RecipientState::Waiting { .. } => "waiting",
        RecipientState::Taken { .. } => "taken",
        RecipientState::Sending { .. } => "sending",
        RecipientState::Held => "held",
        RecipientState::Delivered => "delivered",
        RecipientState::Failed => "failed",
        RecipientState::Cancelled => "cancelled",
    }
}

const fn is_ended(state: RecipientState) -> bool {
    matches!(state, RecipientState::Delivered | RecipientState::Failed | RecipientState::Cancelled)
}

fn origin_text(origin: &Origin) -> String {
    match origin {
        Origin::Account(account) => format!("account {account}"),
        Origin::Report => "report".to_owned(),
        Origin::Relay(grant) => format!("relay {grant}"),
        Origin::Forward(address) => format!("forward {address}"),
        Origin::Local => "mail for mailboxes here".to_owned(),
        Origin::TlsReport => "TLS report".to_owned(),
    }
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        let (class, subject, detail) = attempt.status;
        Self {
            at_unix_millis: attempt.at.get(),
            took_millis: attempt.took_millis,
            outcome: outcome_text(attempt.outcome),
            status: format!("{class}.{subject}.{detail}"),
            host: attempt.host,
            tls: attempt.tls,
            answer: attempt.answer,
            answer_is_remote: attempt.answer_is_remote,
        }
    }
}

impl From<RecipientView> for QueuedRecipient {
    fn from(view: RecipientView) -> Self {
        let due = if let RecipientState::Waiting { due } = view.state { Some(due.get()) } else { None };
        Self {
            position: view.position,
            address: view.recipient.address.to_string(),
            destination: view.recipient.destination,
            state: state_text(view.state),
            due_unix_millis: due,
            attempts: view.attempts,
            failures: view.failures,
            uncertain: view.uncertain,
            delay_told: view.delay_told,
            end_told: view.end_told,
            history: view.history.into_iter().map(AttemptView::from).collect(),
        }
    }
}

fn view(group: GroupId, item: ItemView) -> QueuedView {
    QueuedView {
        id: ItemId { group, item: item.item }.to_string(),
        trace_id: item.trace_id,
        message_id: item.message_id,
        sender: item.sender.to_string(),
        origin: origin_text(&item.origin),
        queued_unix_millis: item.queued.get(),
        size_bytes: item.size_bytes,
        recipients: item.recipients.into_iter().map(QueuedRecipient::from).collect(),
    }
}

async fn ask(api: &Api, group: GroupId, query: OutboundQuery) -> Result<OutboundAnswer, ApiError> {
    match api.client.store().query(group, Query::Outbound(query), Freshness::Now).await?.answer {
        Answer::Outbound(answer) => Ok(answer),
        other => Err(ApiError::out_of_turn(other)),
    }
}

/// Groups 1 to this one have queues.
async fn shards(api: &Api) -> Result<u32, ApiError> {
    match api.client.ask_directory(DirectoryQuery::Cluster).await? {
        DirectoryAnswer::Cluster(cluster) => Ok(cluster.map_or(0, |cluster| cluster.shards)),
        _ => Err(ApiError::out_of_turn("the cluster's facts")),
    }
}

fn sender_of(text: &str) -> Result<ReversePath, ApiError> {
    match text.trim_start_matches('<').trim_end_matches('>') {
        "" => Ok(ReversePath::Null),
        address => Ok(ReversePath::Address(Address::parse(address)?)),
    }
}

fn filter(
    destination: Option<&String>,
    sender: Option<&String>,
    recipient: Option<&String>,
    ended: bool,
) -> Result<Filter, ApiError> {
    Ok(Filter {
        destination: destination.cloned(),
        sender: sender.map(|sender| sender_of(sender)).transpose()?,
        recipient: recipient.map(|address| RecipientAddress::parse(address)).transpose()?,
        ended,
    })
}

/// A page of one group's items, newest first; the second is where the next one begins.
async fn page(
    api: &Api,
    group: GroupId,
    filter: Filter,
    before: Option<u64>,
    rows_max: u32,
) -> Result<(Vec<ItemView>, Option<u64>), ApiError> {
    match ask(api, group, OutboundQuery::Items { filter, before, rows_max }).await? {
        OutboundAnswer::Items(items, next) => Ok((items, next)),
        other => Err(ApiError::out_of_turn(other)),
    }
}

/// Lists what is on its way out, group by group, newest first, a page at a time.
#[utoipa::path(get, path = "/v1/queue",
    params(("destination" = Option<String>, Query, description = "a domain, an address literal, or route:NAME"),
        ("sender" = Option<String>, Query, description = "`<>` for reports"),
        ("recipient" = Option<String>, Query), ("ended" = Option<bool>, Query, description = "with those that ended"),
        ("after" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, body = QueuePage), (status = 422, body = Problem)))]
pub(crate) async fn list(State(api): State<Api>, Asked(listing): Asked<Listing>) -> Result<Json<QueuePage>, ApiError> {
    let Listing { destination, sender, recipient, ended, after } = &listing;
    let filter = filter(destination.as_ref(), sender.as_ref(), recipient.as_ref(), *ended)?;
    let after = after.as_deref().map(ItemId::parse).transpose()?;
    let shards = shards(&api).await?;
    let mut group = after.map_or(1, |after| after.group.get());
    let mut before = after.map(|after| after.item).filter(|item| *item > 0);
    let mut items = Vec::new();
    while group <= shards {
        let of = GroupId::new(group);
        let rows_max = ROWS_MAX - u32::try_from(items.len()).unwrap_or(ROWS_MAX);
        let (found, next) = page(&api, of, filter.clone(), before, rows_max).await?;
        items.extend(found.into_iter().map(|item| view(of, item)));
        (group, before) = if next.is_some() { (group, next) } else { (group + 1, None) };
        if items.len() >= ROWS_MAX as usize {
            break;
        }
    }
    // Item 0 says: from the group's newest one.
    let next = (group <= shards).then(|| ItemId { group: GroupId::new(group), item: before.unwrap_or(0) }.to_string());
    Ok(Json(QueuePage { items, next }))
}

async fn find(api: &Api, id: &str) -> Result<(GroupId, ItemView), ApiError> {
    let ItemId { group, item } = ItemId::parse(id)?;
    if group.get() > shards(api).await? {
        return Err(ApiError::not_found(format!("item {id} in the queue")));
    }
    match ask(api, group, OutboundQuery::Item(item)).await? {
        OutboundAnswer::Item(Some(view)) => Ok((group, *view)),
        OutboundAnswer::Item(None) => Err(ApiError::not_found(format!("item {id} in the queue"))),
        other => Err(ApiError::out_of_turn(other)),
    }
}

/// Shows one item with all its attempts.
#[utoipa::path(get, path = "/v1/queue/{id}", params(("id" = String, Path)),
    responses((status = 200, body = QueuedView), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn show(State(api): State<Api>, Named(id): Named<String>) -> Result<Json<QueuedView>, ApiError> {
    let (group, item) = find(&api, &id).await?;
    Ok(Json(view(group, item)))
}

fn action(operation: &Operation, routes: Option<&[String]>) -> Result<Action, ApiError> {
    let to = operation.to.as_deref().filter(|to| !to.is_empty());
    if operation.action != "reroute" && to.is_some() {
        return Err(ApiError::unprocessable("`to` belongs to reroute alone"));
    }
    match operation.action.as_str() {
        "hold" => Ok(Action::Hold),
        "release" => Ok(Action::Release),
        "retry" => Ok(Action::RetryNow),
        "cancel" => Ok(Action::Cancel),
        "fail" => Ok(Action::Fail),
        "reroute" => match to {
            Some(to) => reroute::destination_of(to, routes).map(Action::Reroute),
            None => Err(ApiError::unprocessable("reroute needs `to`: a domain or route:NAME")),
        },
        other => Err(ApiError::unprocessable(format!("{other:?} is no action"))
            .remedy("give hold, release, retry, cancel, fail or reroute")),
    }
}

/// The recipients of an item that are meant and have no end.
fn meant(item: &ItemView, filter: &Filter) -> Vec<Place> {
    let is_meant = |recipient: &&RecipientView| {
        let destination = filter.destination.as_ref().is_none_or(|meant| *meant == recipient.recipient.destination);
        let address = filter.recipient.as_ref().is_none_or(|meant| *meant == recipient.recipient.address);
        destination && address && !is_ended(recipient.state)
    };
    let positions = item.recipients.iter().filter(is_meant).map(|recipient| recipient.position);
    positions.map(|position| Place { item: item.item, position }).collect()
}

async fn command(api: &Api, group: GroupId, places: &[Place], action: &Action) -> Result<Operated, ApiError> {
    let mut operated = Operated::default();
    for places in places.chunks(OPERATE_MAX) {
        let operate = OutboundCommand::Operate { places: places.to_vec(), action: action.clone() };
        let mut executed = api.client.execute(group, vec![Command::Outbound(operate)]).await?;
        match executed.replies.pop() {
            Some(Reply::Outbound(OutboundReply::Operated(done))) => {
                let changed = done.iter().filter(|done| **done).count() as u64;
                operated.changed += changed;
                operated.unchanged += done.len() as u64 - changed;
            }
            other => return Err(ApiError::out_of_turn(other)),
        }
    }
    Ok(operated)
}

/// Holds, releases, retries, cancels, fails or reroutes one item or all that are meant.
#[utoipa::path(post, path = "/v1/queue", request_body = Operation,
    responses((status = 200, body = Operated), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn operate(
    State(api): State<Api>,
    input::Json(operation): input::Json<Operation>,
) -> Result<Json<Operated>, ApiError> {
    let routes = api.node.routes();
    let action = action(&operation, routes.as_deref())?;
    let warning = reroute::warning(&action, routes.is_some());
    let Operation { id, destination, sender, recipient, all, .. } = &operation;
    let filter = filter(destination.as_ref(), sender.as_ref(), recipient.as_ref(), false)?;
    if let Some(id) = id {
        let (group, item) = find(&api, id).await?;
        if filter.sender.as_ref().is_some_and(|sender| *sender != item.sender) {
            return Ok(Json(Operated { warning, ..Operated::default() }));
        }
        let operated = command(&api, group, &meant(&item, &filter), &action).await?;
        return Ok(Json(Operated { warning, ..operated }));
    }
    if !all && filter == Filter::default() {
        return Err(ApiError::unprocessable("nothing says which items are meant")
            .remedy("give an id, a destination, a sender or a recipient, or say that all are meant (--all)"));
    }
    let mut operated = Operated { warning, ..Operated::default() };
    for group in (1..=shards(&api).await?).map(GroupId::new) {
        let mut before = None;
        loop {
            let (items, next) = page(&api, group, filter.clone(), before, ROWS_MAX).await?;
            let places: Vec<Place> = items.iter().flat_map(|item| meant(item, &filter)).collect();
            let done = command(&api, group, &places, &action).await?;
            operated.changed += done.changed;
            operated.unchanged += done.unchanged;
            before = next;
            if before.is_none() {
                break;
            }
        }
    }
    Ok(Json(operated))
}

/// When a log id was given out, in milliseconds since 1970; none where the text is no log id (a UUID of version 7).
fn given_out(text: &str) -> Option<u64> {
    let dashes = [8, 13, 18, 23];
    let is_uuid = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match byte {
            b'-' => dashes.contains(&at),
            byte => byte.is_ascii_hexdigit() && !dashes.contains(&at),
        });
    if !is_uuid {
        return None;
    }
    u64::from_str_radix(&text.chars().filter(char::is_ascii_hexdigit).take(12).collect::<String>(), 16).ok()
}

/// The items that bear a log id: looked for from the newest one back to when the id was given out.
async fn by_log_id(api: &Api, group: GroupId, id: &str, given_out: u64) -> Result<Vec<ItemView>, ApiError> {
    let filter = Filter { ended: true, ..Filter::default() };
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let (items, next) = page(api, group, filter.clone(), before, ROWS_MAX).await?;
        // Clocks of gateway and store may differ by that much.
        let are_older = items.last().is_some_and(|item| item.queued.get() + CLOCK_SKEW_MILLIS < given_out);
        found.extend(items.into_iter().filter(|item| item.trace_id.eq_ignore_ascii_case(id)));
        before = next;
        if before.is_none() || are_older {
            return Ok(found);
        }
    }
}

/// Shows the life of a message by its Message-ID, with or without its angle brackets, or by its id in the logs, which
/// reports name: each item that bore it.
#[utoipa::path(get, path = "/v1/trace", params(("message_id" = String, Query)),
    responses((status = 200, body = [QueuedView]), (status = 404, body = Problem)))]
pub(crate) async fn trace(
    State(api): State<Api>,
    Asked(OfMessage { message_id }): Asked<OfMessage>,
) -> Result<Json<Vec<QueuedView>>, ApiError> {
    let bare = message_id.trim().trim_start_matches('<').trim_end_matches('>');
    let mut views = Vec::new();
    let log_id = given_out(bare);
    for group in (1..=shards(&api).await?).map(GroupId::new) {
        if let Some(given_out) = log_id {
            views.extend(by_log_id(&api, group, bare, given_out).await?.into_iter().map(|item| view(group, item)));
        }
        for written in [format!("<{bare}>"), bare.to_owned()] {
            match ask(&api, group, OutboundQuery::ByMessageId(written)).await? {
                OutboundAnswer::Items(items, _) => views.extend(items.into_iter().map(|item| view(group, item))),
                other => return Err(ApiError::out_of_turn(other)),
            }
        }
    }
    if views.is_empty() {
        return Err(ApiError::not_found(format!("message {message_id} that left or is to leave")).remedy(
            "give its Message-ID as it was written, or its id in the logs; items that ended are kept for a while only",
        ));
    }
    views.sort_by_key(|view| std::cmp::Reverse(view.queued_unix_millis));
    Ok(Json(views))
}
