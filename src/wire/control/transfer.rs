//! Transfers to and from the wire. A failed one carries its whole error.

use super::super::{
    Invalid,
    common::{file_info, to_file_entry},
    pb, required,
};
use super::{
    ask::{priority, to_priority},
    numbered,
};
use crate::protocol::{
    action::{
        ActionError, Direction, ErrorKind, HintCode, MAX_NOTE_CHARS, NoteCode, ReadEvent, Transfer,
        TransferState,
    },
    id::ContentHash,
};

/// One transfer.
pub fn transfer(transfer: Option<pb::Transfer>) -> Result<Transfer, Invalid> {
    let transfer = required("transfer", transfer)?;
    let direction = match pb::Direction::try_from(transfer.direction) {
        Ok(pb::Direction::Download) => Direction::Download,
        Ok(pb::Direction::Upload) => Direction::Upload,
        Ok(pb::Direction::Send) => Direction::Send,
        Ok(pb::Direction::Receive) => Direction::Receive,
        Ok(pb::Direction::Put) => Direction::Put,
        Ok(pb::Direction::Unspecified) | Err(_) => {
            return Err(Invalid::new("transfer.direction", "is not a known direction"));
        }
    };
    let state = match pb::TransferState::try_from(transfer.state) {
        Ok(pb::TransferState::Waiting) => TransferState::Waiting,
        Ok(pb::TransferState::Paused) => TransferState::Paused,
        Ok(pb::TransferState::Running) => TransferState::Running,
        Ok(pb::TransferState::Verifying) => TransferState::Verifying,
        Ok(pb::TransferState::Done) => TransferState::Done,
        Ok(pb::TransferState::Failed) => TransferState::Failed(ActionError {
            kind: ErrorKind::from_name(&transfer.error_kind),
            message: transfer.error,
            hint: transfer.hint,
            hint_code: HintCode::from_name(&transfer.hint_code),
        }),
        Ok(pb::TransferState::Cancelled) => TransferState::Cancelled,
        Ok(pb::TransferState::Unspecified) | Err(_) => {
            return Err(Invalid::new("transfer.state", "is not a known state"));
        }
    };
    let hash = match &transfer.content_hash[..] {
        [] => None,
        bytes => Some(ContentHash::try_from(bytes).map_err(Invalid::id("transfer.content_hash"))?),
    };
    Ok(Transfer {
        id: numbered("transfer.id", transfer.id)?,
        direction,
        state,
        name: transfer.name,
        path: Some(transfer.path).filter(|path| !path.is_empty()).map(Into::into),
        hash,
        size_bytes: transfer.size_bytes,
        done_bytes: transfer.done_bytes,
        sources: transfer.sources,
        priority: priority("transfer.priority", transfer.priority)?,
        bytes_per_second: transfer.bytes_per_second,
        queue_position: Some(transfer.queue_position).filter(|position| *position > 0),
        note_code: NoteCode::from_name(&transfer.note_code),
        note: note(transfer.note)?,
    })
}

/// One event of a read.
pub fn read_event(response: pb::StartReadResponse) -> Result<ReadEvent, Invalid> {
    use pb::start_read_response::Message;
    Ok(match required("message", response.message)? {
        Message::File(file) => ReadEvent::File(file_info(file)?),
        Message::Data(data) => ReadEvent::Data(data),
    })
}

/// One event of a read, on its way out.
pub fn to_read_response(event: ReadEvent) -> pb::StartReadResponse {
    use pb::start_read_response::Message;
    let message = match event {
        ReadEvent::File(file) => Message::File(to_file_entry(&file)),
        ReadEvent::Data(data) => Message::Data(data),
    };
    pb::StartReadResponse { message: Some(message) }
}

/// One transfer, on its way out. A path that is not UTF-8 is told with replacement characters: it is only shown.
pub fn to_transfer(transfer: Transfer) -> pb::Transfer {
    let direction = match transfer.direction {
        Direction::Download => pb::Direction::Download,
        Direction::Upload => pb::Direction::Upload,
        Direction::Send => pb::Direction::Send,
        Direction::Receive => pb::Direction::Receive,
        Direction::Put => pb::Direction::Put,
    };
    let (state, error) = match transfer.state {
        TransferState::Waiting => (pb::TransferState::Waiting, None),
        TransferState::Paused => (pb::TransferState::Paused, None),
        TransferState::Running => (pb::TransferState::Running, None),
        TransferState::Verifying => (pb::TransferState::Verifying, None),
        TransferState::Done => (pb::TransferState::Done, None),
        TransferState::Failed(error) => (pb::TransferState::Failed, Some(error)),
        TransferState::Cancelled => (pb::TransferState::Cancelled, None),
    };
    let hint_code = error.as_ref().and_then(|error| error.hint_code).map(HintCode::name).unwrap_or_default();
    let (error, hint, error_kind) = error
        .map_or_else(Default::default, |error| (error.message, error.hint, error.kind.name().to_owned()));
    pb::Transfer {
        id: transfer.id,
        direction: direction.into(),
        state: state.into(),
        name: transfer.name,
        path: transfer.path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
        content_hash: transfer.hash.map(|hash| hash.as_bytes().to_vec().into()).unwrap_or_default(),
        size_bytes: transfer.size_bytes,
        done_bytes: transfer.done_bytes,
        sources: transfer.sources,
        error,
        hint,
        error_kind,
        priority: to_priority(transfer.priority).into(),
        bytes_per_second: transfer.bytes_per_second,
        queue_position: transfer.queue_position.unwrap_or(0),
        note: transfer.note,
        note_code: transfer.note_code.map(NoteCode::name).unwrap_or_default().to_owned(),
        hint_code: hint_code.to_owned(),
    }
}

fn note(note: String) -> Result<String, Invalid> {
    if note.chars().nth(MAX_NOTE_CHARS).is_some() {
        return Err(Invalid::new("transfer.note", format!("is longer than {MAX_NOTE_CHARS} characters")));
    }
    Ok(note)
}
