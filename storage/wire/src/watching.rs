//! What travels on the stream of watches: topics up, changes and the store's status down.

use securanet_model::{StoreError, record, request::Topic};

use crate::{WireError, convert::decode, proto};

/// Topics that one stream may watch at a time.
pub const TOPICS_MAX: usize = 100_000;

/// What a watcher wants from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// To be told of this topic.
    Subscribe(Topic),
    /// To be told of it no more.
    Unsubscribe(Topic),
}

/// What a watcher is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The topic has changed, or its subscription holds from now on.
    Changed(Topic),
    /// Whether the store takes mail in; the reason when not.
    Status(Result<(), StoreError>),
}

/// A wish as it travels.
#[must_use]
pub fn wish_to_wire(wish: Wish) -> proto::WatchRequest {
    use proto::watch_request::Change;
    let change = match wish {
        Wish::Subscribe(topic) => Change::Subscribe(record::encode(&topic)),
        Wish::Unsubscribe(topic) => Change::Unsubscribe(record::encode(&topic)),
    };
    proto::WatchRequest { change: Some(change) }
}

/// A wish from a peer.
///
/// # Errors
/// [`WireError`] names the field.
pub fn wish_from_wire(message: &proto::WatchRequest) -> Result<Wish, WireError> {
    use proto::watch_request::Change;
    match &message.change {
        None => Err(WireError::Missing("change")),
        Some(Change::Subscribe(topic)) => Ok(Wish::Subscribe(decode("subscribe", topic)?)),
        Some(Change::Unsubscribe(topic)) => Ok(Wish::Unsubscribe(decode("unsubscribe", topic)?)),
    }
}

/// An event as it travels.
#[must_use]
pub fn event_to_wire(event: &Event) -> proto::WatchEvent {
    use proto::watch_event::Event as Kind;
    let kind = match event {
        Event::Changed(topic) => Kind::Changed(record::encode(topic)),
        Event::Status(status) => {
            Kind::Status(proto::Status { not_accepting: status.as_ref().err().map(record::encode) })
        }
    };
    proto::WatchEvent { event: Some(kind) }
}

/// An event from a peer.
///
/// # Errors
/// [`WireError`] names the field.
pub fn event_from_wire(message: &proto::WatchEvent) -> Result<Event, WireError> {
    use proto::watch_event::Event as Kind;
    match &message.event {
        None => Err(WireError::Missing("event")),
        Some(Kind::Changed(topic)) => Ok(Event::Changed(decode("changed", topic)?)),
        Some(Kind::Status(proto::Status { not_accepting: None })) => Ok(Event::Status(Ok(()))),
        Some(Kind::Status(proto::Status { not_accepting: Some(error) })) => {
            Ok(Event::Status(Err(decode("not_accepting", error)?)))
        }
    }
}
