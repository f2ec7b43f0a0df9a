//! `DownloadResponse` framed by hand, so that file bytes are copied at neither end, while any generated gRPC client or
//! server understands the other.
//!
//! Invariant: whatever way a stream of bytes is cut into DATA frames, the reader gives the same events; what is malformed
//! is an error, and nothing but the file entry and its tree (both bounded) is ever held back.

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;

use super::MAX_CHUNK_BYTES;
use crate::{
    protocol::piece::{MAX_PIECES, VALUE_BYTES},
    wire::pb,
};

/// Room before the payload: the gRPC prefix, the field `offset`, the tag and length of the field `data`.
pub const HEADROOM: usize = PREFIX + 11 + 11;
/// Compressed flag and length of a gRPC message.
const PREFIX: usize = 5;
const TAG_FILE: u64 = 1 << 3 | LEN;
const TAG_OFFSET: u64 = 2 << 3 | VARINT;
const TAG_DATA: u64 = 3 << 3 | LEN;
const TAG_TREE: u64 = 4 << 3 | LEN;
const TAG_QUEUE_POSITION: u64 = 5 << 3 | VARINT;
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LEN: u64 = 2;
const FIXED32: u64 = 5;
/// Largest file entry taken: a path of 4 KiB and its small fields, with room for fields to come.
const MAX_ENTRY_BYTES: usize = 8 << 10;
/// Largest tree taken: the values of the most pieces.
const MAX_TREE_BYTES: usize = MAX_PIECES as usize * VALUE_BYTES;
/// Largest message taken: the largest chunk, or tree with its entry, and its framing.
pub const MAX_MESSAGE_BYTES: usize =
    if MAX_CHUNK_BYTES > MAX_TREE_BYTES { MAX_CHUNK_BYTES } else { MAX_TREE_BYTES }
        + MAX_ENTRY_BYTES
        + HEADROOM;
/// Longest varint: 10 groups of 7 bits hold 64.
const MAX_VARINT_BYTES: u32 = 10;

fn put_varint(out: &mut [u8], mut at: usize, mut value: u64) -> usize {
    while value >= 0x80 {
        out[at] = value.to_le_bytes()[0] | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = value.to_le_bytes()[0];
    at + 1
}

/// Writes the header of a payload of `payload_bytes` that lies right behind the headroom; returns where the message
/// begins. `payload_bytes` is at most [`MAX_CHUNK_BYTES`].
pub fn write_header(headroom: &mut [u8; HEADROOM], offset: u64, payload_bytes: usize) -> usize {
    let mut fields = [0; HEADROOM - PREFIX];
    let mut length = 0;
    // A field at its default is left out, as generated code does.
    if offset != 0 {
        length = put_varint(&mut fields, length, TAG_OFFSET);
        length = put_varint(&mut fields, length, offset);
    }
    length = put_varint(&mut fields, length, TAG_DATA);
    length = put_varint(&mut fields, length, payload_bytes as u64);
    let start = HEADROOM - PREFIX - length;
    let message_bytes = u32::try_from(length + payload_bytes).expect("a chunk is far below 4 GiB");
    headroom[start] = 0;
    headroom[start + 1..start + PREFIX].copy_from_slice(&message_bytes.to_be_bytes());
    headroom[start + PREFIX..].copy_from_slice(&fields[..length]);
    start
}

/// One small message as a whole gRPC frame.
///
/// # Panics
/// When the message is 4 GiB or more.
pub fn frame(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let length = u32::try_from(body.len()).expect("messages of ours are far below 4 GiB");
    let mut framed = BytesMut::with_capacity(PREFIX + body.len());
    framed.extend_from_slice(&[0]);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&body);
    framed.freeze()
}

/// The only message of a unary request's body.
pub fn unframe<M: Message + Default>(mut body: Bytes) -> Result<M, Malformed> {
    if body.len() < PREFIX {
        return Err(Malformed("the request is cut off"));
    }
    if body.get_u8() != 0 {
        return Err(Malformed("compressed messages are not understood"));
    }
    if usize::try_from(body.get_u32()) != Ok(body.len()) {
        return Err(Malformed("the request is not one whole message"));
    }
    M::decode(body).map_err(|_| Malformed("the request is not a message of its kind"))
}

/// What came is not a stream of `DownloadResponse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// What a stream of `DownloadResponse` tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The file as the holder has it.
    File {
        /// What it is.
        entry: pb::FileEntry,
        /// The values of its pieces, at most 512 KiB, unchecked; empty when the holder told none.
        tree: Bytes,
    },
    /// Bytes and where they belong. A chunk may come in several parts.
    Data {
        /// Offset in the file.
        offset: u64,
        /// Never empty.
        bytes: Bytes,
    },
    /// All upload slots are taken: the place in the holder's queue, 1 is the next. Comes before the file, any number of
    /// times, at least every 5 s. Who reads it is waiting its turn, not stalled: measuring of the pace begins anew with
    /// each of these, and a holder that falls silent is given up as one that sends no bytes.
    Queued(u32),
}

#[derive(Debug, Clone, Copy)]
struct Varint {
    value: u64,
    bytes: u32,
}

impl Varint {
    const START: Self = Self { value: 0, bytes: 0 };
}

#[derive(Debug)]
enum State {
    /// Bytes of the prefix read so far.
    Prefix([u8; PREFIX], usize),
    Tag(Varint),
    /// The value of a varint field, or the length of a `LEN` field.
    Value(u64, Varint),
    File(Vec<u8>, usize),
    Tree(Vec<u8>, usize),
    Data(usize),
    Skip(usize),
    Broken(Malformed),
}

/// Takes DATA frames in any split and gives events; payload is handed on uncopied.
#[derive(Debug)]
pub struct Reader {
    input: Bytes,
    state: State,
    /// Bytes of the current message not read yet.
    left: usize,
    offset: u64,
    had_data: bool,
    /// The current message's, until it ends: the tree may come behind the entry.
    file: Option<pb::FileEntry>,
    tree: Option<Bytes>,
    queue_position: u32,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            input: Bytes::new(),
            state: State::Prefix([0; PREFIX], 0),
            left: 0,
            offset: 0,
            had_data: false,
            file: None,
            tree: None,
            queue_position: 0,
        }
    }
}

impl Reader {
    /// Takes the next DATA frame. The last one has to be read out first.
    pub fn push(&mut self, frame: Bytes) {
        debug_assert!(self.input.is_empty(), "the last frame was not read out");
        self.input = frame;
    }

    /// The next event; `None` when more input is needed. An error is for good.
    pub fn event(&mut self) -> Result<Option<Event>, Malformed> {
        loop {
            if let State::Broken(malformed) = self.state {
                return Err(malformed);
            }
            match self.step() {
                Ok(Progress::Event(event)) => return Ok(Some(event)),
                Ok(Progress::Starved) => return Ok(None),
                Ok(Progress::More) => {}
                Err(malformed) => self.state = State::Broken(malformed),
            }
        }
    }

    /// The stream is over: fails when it ended within a message.
    pub fn finish(&self) -> Result<(), Malformed> {
        match self.state {
            State::Prefix(_, 0) if self.input.is_empty() => Ok(()),
            State::Broken(malformed) => Err(malformed),
            _ => Err(Malformed("the stream was cut off within a message")),
        }
    }

    fn step(&mut self) -> Result<Progress, Malformed> {
        if let State::Prefix(prefix, have) = &mut self.state {
            let take = (PREFIX - *have).min(self.input.len());
            prefix[*have..*have + take].copy_from_slice(&self.input.split_to(take));
            *have += take;
            if *have < PREFIX {
                return Ok(Progress::Starved);
            }
            let [flag, length @ ..] = *prefix;
            return self.begin_message(flag, u32::from_be_bytes(length));
        }
        if self.left == 0 {
            return self.end_message();
        }
        if self.input.is_empty() {
            return Ok(Progress::Starved);
        }
        match &mut self.state {
            State::Tag(varint) => {
                let varint = take_byte(varint, &mut self.input, &mut self.left)?;
                if let Some(tag) = varint {
                    check_tag(tag)?;
                    self.state = match tag & 7 {
                        VARINT | LEN => State::Value(tag, Varint::START),
                        FIXED64 => self.skip(8)?,
                        FIXED32 => self.skip(4)?,
                        _ => return Err(Malformed("a field is of an unknown kind")),
                    };
                }
            }
            State::Value(tag, varint) => {
                let tag = *tag;
                if let Some(value) = take_byte(varint, &mut self.input, &mut self.left)? {
                    self.state = self.begin_field(tag, value)?;
                    if matches!(self.state, State::Data(_))
                        && let Some(event) = self.held()?
                    {
                        return Ok(Progress::Event(event));
                    }
                }
            }
            State::File(entry, size) => {
                let take = (*size - entry.len()).min(self.input.len());
                entry.extend_from_slice(&self.input.split_to(take));
                self.left -= take;
                if entry.len() == *size {
                    let decoded = pb::FileEntry::decode(&entry[..]);
                    self.file = Some(decoded.map_err(|_| Malformed("the file entry is not one"))?);
                    self.state = State::Tag(Varint::START);
                }
            }
            State::Tree(tree, size) => {
                let take = (*size - tree.len()).min(self.input.len());
                tree.extend_from_slice(&self.input.split_to(take));
                self.left -= take;
                if tree.len() == *size {
                    self.tree = Some(std::mem::take(tree).into());
                    self.state = State::Tag(Varint::START);
                }
            }
            State::Data(size) => {
                let take = (*size).min(self.input.len());
                let bytes = self.input.split_to(take);
                self.left -= take;
                *size -= take;
                if *size == 0 {
                    self.state = State::Tag(Varint::START);
                }
                let offset = self.offset;
                self.offset =
                    offset.checked_add(take as u64).ok_or(Malformed("the bytes lie beyond any file"))?;
                return Ok(Progress::Event(Event::Data { offset, bytes }));
            }
            State::Skip(size) => {
                let take = (*size).min(self.input.len());
                self.input.advance(take);
                self.left -= take;
                *size -= take;
                if *size == 0 {
                    self.state = State::Tag(Varint::START);
                }
            }
            State::Prefix(..) | State::Broken(_) => unreachable!("answered above"),
        }
        Ok(Progress::More)
    }

    fn begin_message(&mut self, flag: u8, length: u32) -> Result<Progress, Malformed> {
        if flag != 0 {
            return Err(Malformed("compressed messages are not understood"));
        }
        self.left = usize::try_from(length)
            .ok()
            .filter(|&length| length <= MAX_MESSAGE_BYTES)
            .ok_or(Malformed("a message is larger than any chunk"))?;
        (self.offset, self.had_data) = (0, false);
        self.state = State::Tag(Varint::START);
        Ok(Progress::More)
    }

    fn end_message(&mut self) -> Result<Progress, Malformed> {
        match self.state {
            State::Tag(Varint { bytes: 0, .. }) => {
                self.state = State::Prefix([0; PREFIX], 0);
                Ok(self.held()?.map_or(Progress::More, Progress::Event))
            }
            _ => Err(Malformed("a field is cut off by the end of its message")),
        }
    }

    /// What the current message says beside bytes, once.
    fn held(&mut self) -> Result<Option<Event>, Malformed> {
        let position = std::mem::take(&mut self.queue_position);
        match (self.file.take(), self.tree.take()) {
            (None, Some(_)) => Err(Malformed("a tree comes without its file")),
            (file, _) if position > 0 && (file.is_some() || self.had_data) => {
                Err(Malformed("a queue position does not come alone"))
            }
            (Some(entry), tree) => Ok(Some(Event::File { entry, tree: tree.unwrap_or_default() })),
            (None, None) => Ok((position > 0).then_some(Event::Queued(position))),
        }
    }

    fn begin_field(&mut self, tag: u64, value: u64) -> Result<State, Malformed> {
        match tag {
            TAG_OFFSET if self.had_data => return Err(Malformed("an offset comes after its bytes")),
            TAG_OFFSET => self.offset = value,
            TAG_QUEUE_POSITION => self.queue_position = u32::try_from(value).unwrap_or(u32::MAX),
            _ if tag & 7 == VARINT => {}
            _ => {
                let size = usize::try_from(value)
                    .ok()
                    .filter(|&size| size <= self.left)
                    .ok_or(Malformed("a field is longer than its message"))?;
                return match tag {
                    TAG_FILE if size > MAX_ENTRY_BYTES => Err(Malformed("the file entry is too long")),
                    TAG_FILE if size == 0 => Err(Malformed("the file entry is empty")),
                    TAG_FILE if self.had_data || self.file.is_some() => {
                        Err(Malformed("a message holds two files, or one after bytes"))
                    }
                    TAG_FILE => Ok(State::File(Vec::with_capacity(size), size)),
                    TAG_TREE if self.had_data => Err(Malformed("a tree comes after bytes")),
                    TAG_TREE if self.tree.is_some() => Err(Malformed("a message holds two trees")),
                    TAG_TREE if size > MAX_TREE_BYTES => Err(Malformed("the tree is too long")),
                    // Grows as bytes come: a length costs nobody memory.
                    TAG_TREE if size > 0 => Ok(State::Tree(Vec::new(), size)),
                    TAG_DATA if self.had_data => Err(Malformed("a message holds two chunks")),
                    TAG_DATA => {
                        self.had_data = true;
                        Ok(if size == 0 { State::Tag(Varint::START) } else { State::Data(size) })
                    }
                    _ => self.skip(size),
                };
            }
        }
        Ok(State::Tag(Varint::START))
    }

    fn skip(&self, size: usize) -> Result<State, Malformed> {
        match size {
            0 => Ok(State::Tag(Varint::START)),
            _ if size > self.left => Err(Malformed("a field is longer than its message")),
            _ => Ok(State::Skip(size)),
        }
    }
}

/// What generated code refuses is refused here too: both ends have to read the same out of a message.
fn check_tag(tag: u64) -> Result<(), Malformed> {
    const KNOWN: [u64; 5] = [TAG_FILE, TAG_OFFSET, TAG_DATA, TAG_TREE, TAG_QUEUE_POSITION];
    if tag >> 3 == 0 || u32::try_from(tag).is_err() {
        return Err(Malformed("a field has no number"));
    }
    if KNOWN.iter().any(|known| known >> 3 == tag >> 3 && *known != tag) {
        return Err(Malformed("a field is of another kind than it should be"));
    }
    Ok(())
}

enum Progress {
    Event(Event),
    More,
    Starved,
}

/// One byte of a varint; its value when that was the last one.
fn take_byte(varint: &mut Varint, input: &mut Bytes, left: &mut usize) -> Result<Option<u64>, Malformed> {
    let byte = input.get_u8();
    *left -= 1;
    let bits = u64::from(byte & 0x7f);
    let shift = 7 * varint.bytes;
    varint.bytes += 1;
    if varint.bytes > MAX_VARINT_BYTES || (bits << shift) >> shift != bits {
        return Err(Malformed("a number is longer than 64 bits"));
    }
    varint.value |= bits << shift;
    Ok((byte < 0x80).then_some(varint.value))
}

#[cfg(test)]
mod tests;
