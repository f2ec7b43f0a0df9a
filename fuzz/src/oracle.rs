//! What holds for every input, whatever the target.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fmt::Debug,
};

use floodplain::{protocol::name::Printable, wire::Invalid};
use prost::Message;

/// Longest text of a refusal. It travels in two headers, one of them in base64, that together stay below 8 KiB.
const MAX_PROBLEM_BYTES: usize = 2048;
/// Two bytes of a message, an empty field of a list, become a struct of some 160 bytes in a vector that doubles: what a
/// byte may cost while a message is read and checked.
const BYTES_PER_BYTE: usize = 320;
const BYTES_AT_ALL: usize = 64 << 10;

struct Counting;

thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(more: usize, less: usize) {
    // While a thread ends there is nothing left to count in.
    let _ = NOW.try_with(|now| {
        now.set((now.get() + more).saturating_sub(less));
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, layout.size());
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Runs it and holds it to a peak of memory in proportion to its input.
pub fn frugal<T>(input_bytes: usize, work: impl FnOnce() -> T) -> T {
    within(BYTES_AT_ALL + BYTES_PER_BYTE * input_bytes, work)
}

/// Runs it and holds it to a peak of memory.
pub fn within<T>(most_bytes: usize, work: impl FnOnce() -> T) -> T {
    let before = NOW.get();
    PEAK.set(before);
    let done = work();
    let peak = PEAK.get().saturating_sub(before);
    assert!(peak <= most_bytes, "took {peak} bytes of memory, {most_bytes} are enough");
    done
}

/// A refusal names a field and is short.
pub fn is_fit_refusal(invalid: &Invalid) {
    assert!(!invalid.field.is_empty());
    let text = invalid.to_string();
    assert!(text.len() <= MAX_PROBLEM_BYTES, "a refusal of {} bytes", text.len());
    is_printable(&text);
    let status = tonic::Status::from(invalid.clone());
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
}

/// Whatever a text holds, what is shown of it does not steer a terminal.
pub fn is_printable(text: &str) {
    let shown = Printable(text).to_string();
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    assert!(!shown.chars().any(steers), "{shown:?}");
    assert_eq!(Printable(&shown).to_string(), shown, "escaping twice changes nothing");
}

/// A message that came: read, checked, told to another and checked there. What was taken in is the same at the end.
pub fn message<M, T, N>(
    data: &[u8],
    check: impl Fn(M) -> Result<T, Invalid>,
    back: impl Fn(T) -> N,
    as_came: impl Fn(N) -> M,
) where
    M: Message + Default,
    T: Debug,
    N: Message,
{
    let taken = frugal(data.len(), || M::decode(data).ok().map(&check));
    let taken = match taken {
        Some(Ok(taken)) => taken,
        Some(Err(invalid)) => return is_fit_refusal(&invalid),
        None => return,
    };
    let before = format!("{taken:?}");
    let again = check(as_came(back(taken)));
    let again = again.unwrap_or_else(|invalid| panic!("what was taken is refused on its way: {invalid}"));
    assert_eq!(before, format!("{again:?}"));
}

/// As [`message`], where the way out is not the way in.
pub fn message_in<M: Message + Default, T>(
    data: &[u8],
    check: impl Fn(M) -> Result<T, Invalid>,
) -> Option<T> {
    let taken = frugal(data.len(), || M::decode(data).ok().map(&check))?;
    taken.map_err(|invalid| is_fit_refusal(&invalid)).ok()
}

/// The same message after it was on the wire.
pub fn sent<M: Message + Default>(message: M) -> M {
    M::decode(&message.encode_to_vec()[..]).expect("a message is read as it was written")
}
