//! A group's part of the queue.

use securanet_model::{
    UnixMillis,
    delivery::{QueueAnswer, QueueCommand, QueueQuery, QueueReply},
};

use crate::{
    EngineError,
    tx::{ReadView, Tx},
};

pub(crate) fn apply(_tx: &mut Tx<'_>, _clock: UnixMillis, _command: &QueueCommand) -> Result<QueueReply, EngineError> {
    Err(EngineError::Inconsistent("not built yet".to_owned()))
}

pub(crate) fn answer(_view: &ReadView<'_>, _query: &QueueQuery) -> Result<QueueAnswer, EngineError> {
    Err(EngineError::Inconsistent("not built yet".to_owned()))
}
