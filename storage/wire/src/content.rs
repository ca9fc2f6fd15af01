//! What travels when a message is taken in or read: frames with bounds, so that neither side keeps more than it must.

use std::ops::Range;

use bytes::Bytes;
use securanet_model::{
    AccountId, EmailId, Epoch, GroupId, StoreError, TenantId, account::AccountRef, content::Ingested, record,
};

use crate::{WireError, convert::decode, proto};

/// Octets of content in one frame.
pub const FRAME_SIZE_BYTES_MAX: usize = 256 << 10;
/// Octets of the trace field that goes before a message.
pub const TRACE_SIZE_BYTES_MAX: usize = 64 << 10;
/// Octets of a message's beginning that may come with its size.
pub const HEAD_SIZE_BYTES_MAX: u32 = 64 << 10;
/// Octets that one range is answered with.
pub const RANGE_SIZE_BYTES_MAX: u64 = 1 << 20;

/// A step of taking a message in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PutStep {
    /// It begins.
    Begin {
        /// Whose it is.
        tenant: TenantId,
        /// The field that goes before it.
        trace: Vec<u8>,
        /// What its sender announced.
        size_hint_bytes: Option<u64>,
    },
    /// More of it.
    Bytes(Bytes),
    /// That many octets were all.
    End(u64),
}

/// What a store says to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PutAnswer {
    /// Memory is set aside.
    Begun,
    /// Its blobs are durable.
    Ingested(Box<Ingested>),
    /// It is not taken.
    Failed(StoreError),
}

/// Where a message is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// In an account.
    Email(GroupId, AccountRef, EmailId),
    /// In a group's outbound queue.
    Outbound(GroupId, u64),
}

/// A step of reading.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadStep {
    /// It begins, with so many octets of the beginning.
    Open(Source, u32),
    /// This part.
    Range(Range<u64>),
}

/// What a store says to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadAnswer {
    /// It is open.
    Opened {
        /// Octets of the message.
        size_bytes: u64,
        /// Its beginning.
        head: Bytes,
    },
    /// More of the range.
    Chunk {
        /// The octets.
        bytes: Bytes,
        /// Whether these are the last ones of the range.
        last: bool,
    },
    /// It cannot be read.
    Failed(StoreError),
}

fn within(field: &'static str, bytes: Bytes, least: usize) -> Result<Bytes, WireError> {
    if (least..=FRAME_SIZE_BYTES_MAX).contains(&bytes.len()) { Ok(bytes) } else { Err(WireError::Field(field)) }
}

/// A step as it travels.
#[must_use]
pub fn put_to_wire(step: PutStep) -> proto::PutFrame {
    use proto::put_frame::Frame;
    let frame = match step {
        PutStep::Begin { tenant, trace, size_hint_bytes } => {
            Frame::Begin(proto::PutBegin { tenant: tenant.get(), trace, size_hint_bytes })
        }
        PutStep::Bytes(bytes) => Frame::Bytes(bytes),
        PutStep::End(size) => Frame::EndSizeBytes(size),
    };
    proto::PutFrame { frame: Some(frame) }
}

/// A step from a peer.
///
/// # Errors
/// [`WireError`] names the field.
pub fn put_from_wire(message: proto::PutFrame) -> Result<PutStep, WireError> {
    use proto::put_frame::Frame;
    match message.frame {
        None => Err(WireError::Missing("frame")),
        Some(Frame::Begin(begin)) if begin.trace.len() > TRACE_SIZE_BYTES_MAX => Err(WireError::Field("trace")),
        Some(Frame::Begin(begin)) => Ok(PutStep::Begin {
            tenant: TenantId::new(begin.tenant),
            trace: begin.trace,
            size_hint_bytes: begin.size_hint_bytes,
        }),
        Some(Frame::Bytes(bytes)) => Ok(PutStep::Bytes(within("bytes", bytes, 1)?)),
        Some(Frame::EndSizeBytes(size)) => Ok(PutStep::End(size)),
    }
}

/// An answer as it travels.
#[must_use]
pub fn put_answer_to_wire(answer: &PutAnswer) -> proto::PutReply {
    use proto::put_reply::Step;
    let step = match answer {
        PutAnswer::Begun => Step::Begun(proto::Begun {}),
        PutAnswer::Ingested(ingested) => Step::Ingested(record::encode(ingested)),
        PutAnswer::Failed(error) => Step::Error(record::encode(error)),
    };
    proto::PutReply { step: Some(step) }
}

/// An answer from a peer.
///
/// # Errors
/// [`WireError`] names the field.
pub fn put_answer_from_wire(message: &proto::PutReply) -> Result<PutAnswer, WireError> {
    use proto::put_reply::Step;
    match &message.step {
        None => Err(WireError::Missing("step")),
        Some(Step::Begun(_)) => Ok(PutAnswer::Begun),
        Some(Step::Ingested(ingested)) => Ok(PutAnswer::Ingested(Box::new(decode("ingested", ingested)?))),
        Some(Step::Error(error)) => Ok(PutAnswer::Failed(decode("error", error)?)),
    }
}

/// A step as it travels.
#[must_use]
pub fn read_to_wire(step: &ReadStep) -> proto::ReadRequest {
    use proto::{read_open, read_request::Step};
    let step = match step {
        ReadStep::Open(source, head_bytes) => {
            let source = match *source {
                Source::Email(group, account, email) => read_open::Source::Email(proto::EmailSource {
                    group: group.get(),
                    account: account.id.get(),
                    epoch: account.epoch.get(),
                    email: email.get(),
                }),
                Source::Outbound(group, item) => {
                    read_open::Source::Outbound(proto::OutboundSource { group: group.get(), item })
                }
            };
            Step::Open(proto::ReadOpen { source: Some(source), head_bytes: *head_bytes })
        }
        ReadStep::Range(range) => Step::Range(proto::ReadRange { start: range.start, end: range.end }),
    };
    proto::ReadRequest { step: Some(step) }
}

/// A step from a peer.
///
/// # Errors
/// [`WireError`] names the field.
pub fn read_from_wire(message: &proto::ReadRequest) -> Result<ReadStep, WireError> {
    use proto::{read_open, read_request::Step};
    match &message.step {
        None => Err(WireError::Missing("step")),
        Some(Step::Range(range)) if range.start > range.end => Err(WireError::Field("range")),
        Some(Step::Range(range)) => Ok(ReadStep::Range(range.start..range.end)),
        Some(Step::Open(open)) if open.head_bytes > HEAD_SIZE_BYTES_MAX => Err(WireError::Field("head_bytes")),
        Some(Step::Open(open)) => {
            let source = match &open.source {
                None => return Err(WireError::Missing("source")),
                Some(read_open::Source::Email(email)) => Source::Email(
                    GroupId::new(email.group),
                    AccountRef { id: AccountId::new(email.account), epoch: Epoch::new(email.epoch) },
                    EmailId::new(email.email),
                ),
                Some(read_open::Source::Outbound(outbound)) => {
                    Source::Outbound(GroupId::new(outbound.group), outbound.item)
                }
            };
            Ok(ReadStep::Open(source, open.head_bytes))
        }
    }
}

/// An answer as it travels.
#[must_use]
pub fn read_answer_to_wire(answer: ReadAnswer) -> proto::ReadFrame {
    use proto::read_frame::Frame;
    let frame = match answer {
        ReadAnswer::Opened { size_bytes, head } => Frame::Opened(proto::Opened { size_bytes, head }),
        ReadAnswer::Chunk { bytes, last } => Frame::Chunk(proto::Chunk { bytes, last }),
        ReadAnswer::Failed(error) => Frame::Error(record::encode(&error)),
    };
    proto::ReadFrame { frame: Some(frame) }
}

/// An answer from a peer.
///
/// # Errors
/// [`WireError`] names the field.
pub fn read_answer_from_wire(message: proto::ReadFrame) -> Result<ReadAnswer, WireError> {
    use proto::read_frame::Frame;
    match message.frame {
        None => Err(WireError::Missing("frame")),
        Some(Frame::Error(error)) => Ok(ReadAnswer::Failed(decode("error", &error)?)),
        Some(Frame::Chunk(chunk)) => {
            Ok(ReadAnswer::Chunk { bytes: within("bytes", chunk.bytes, 0)?, last: chunk.last })
        }
        Some(Frame::Opened(opened)) => {
            let head = within("head", opened.head, 0)?;
            if head.len() as u64 > opened.size_bytes {
                return Err(WireError::Field("head"));
            }
            Ok(ReadAnswer::Opened { size_bytes: opened.size_bytes, head })
        }
    }
}
