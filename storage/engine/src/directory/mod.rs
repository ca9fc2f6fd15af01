//! Group 0.

use securanet_model::{
    UnixMillis,
    directory::{DirectoryAnswer, DirectoryCommand, DirectoryQuery, DirectoryReply},
};

use crate::{
    EngineError,
    tx::{ReadView, Tx},
};

pub(crate) fn apply(
    _tx: &mut Tx<'_>,
    _clock: UnixMillis,
    _command: &DirectoryCommand,
) -> Result<DirectoryReply, EngineError> {
    Err(EngineError::Inconsistent("not built yet".to_owned()))
}

pub(crate) fn answer(_view: &ReadView<'_>, _query: &DirectoryQuery) -> Result<DirectoryAnswer, EngineError> {
    Err(EngineError::Inconsistent("not built yet".to_owned()))
}
