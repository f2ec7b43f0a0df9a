//! What a connection may send that brings nothing: frames of HTTP/2 that begin no call and carry next to no bytes.
//!
//! Invariant: what a library sends beside its calls, and beside the bytes that it takes, is never too much; whoever sends more
//! than `PER_SECOND` besides, for longer than a moment, is not read for a growing time, and in the end not any more.

use std::time::{Duration, Instant};

/// Bytes of a frame's head (RFC 9113, section 4.1), and of what comes before the first.
const HEAD_BYTES: usize = 9;
const PREFACE: &[u8; PREFACE_BYTES] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PREFACE_BYTES: usize = 24;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
/// Data of less than this brings next to nothing.
const LEAST_DATA_BYTES: usize = 256;
/// Data of so much pays as a call does: a message that a full window cuts leaves a few bytes for a frame of its own.
const PAYING_DATA_BYTES: usize = 16 << 10;

/// Idle frames a second in the long run; pings that keep a connection alive are one in ten seconds. Each costs 1 to 2 us.
const PER_SECOND: u32 = 200;
/// At once, after a pause.
const BURST: u32 = 2000;
/// A call brings its short data, its end, and the windows of its short answer.
const PER_CALL: u32 = 4;
/// Who takes an answer opens two windows and may measure the way, for each 16 KiB by the libraries with the smallest windows.
const ANSWERED_BYTES: u64 = 4 << 10;
/// How long a connection is not read the first time; each next time it is twice as long.
const FIRST_SILENCE: Duration = Duration::from_millis(250);
/// After so many there is none left to wait for: what the system holds of it unread would be held for ever.
const MOST_SILENCES: u32 = 4;
/// After so long without one they are forgotten.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// The frames of one connection as their bytes come.
#[derive(Debug)]
pub struct Frames {
    head: [u8; HEAD_BYTES],
    have: usize,
    /// Of the payload.
    left_bytes: usize,
    /// Of the preface, that have come.
    begun_bytes: usize,
    /// It did not begin as HTTP/2 does: HTTP/1, whose bodies may hold anything.
    is_other: bool,
}

/// What some bytes brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Calls.
    pub calls: u32,
    /// Frames that bring nothing.
    pub idle: u32,
}

impl Default for Frames {
    fn default() -> Self {
        Self { head: [0; HEAD_BYTES], have: 0, left_bytes: 0, begun_bytes: 0, is_other: false }
    }
}

impl Frames {
    /// Takes the next bytes, cut anywhere. A frame counts when its head is whole.
    pub fn read(&mut self, mut bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        let due = (PREFACE_BYTES - self.begun_bytes).min(bytes.len());
        if self.is_other || bytes[..due] != PREFACE[self.begun_bytes..self.begun_bytes + due] {
            self.is_other = true;
            return seen;
        }
        self.begun_bytes += due;
        bytes = &bytes[due..];
        while !bytes.is_empty() {
            if self.left_bytes > 0 {
                let skipped = self.left_bytes.min(bytes.len());
                self.left_bytes -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (HEAD_BYTES - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEAD_BYTES {
                self.have = 0;
                let [a, b, c, kind, ..] = self.head;
                self.left_bytes = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                match kind {
                    HEADERS => seen.calls += 1,
                    DATA if self.left_bytes >= PAYING_DATA_BYTES => seen.calls += 1,
                    DATA if self.left_bytes >= LEAST_DATA_BYTES => {}
                    _ => seen.idle += 1,
                }
            }
        }
        seen
    }
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Read on.
    On,
    /// Not before this time has passed.
    After(Duration),
    /// Never again.
    Over,
}

/// How many idle frames a connection has left.
#[derive(Debug)]
pub struct Budget {
    left: u32,
    counted_at: Instant,
    answered_bytes: u64,
    silences: u32,
    silent_at: Instant,
}

impl Budget {
    /// Of a connection that begins now.
    pub fn new(now: Instant) -> Self {
        Self { left: BURST, counted_at: now, answered_bytes: 0, silences: 0, silent_at: now }
    }

    /// So many bytes were sent to it.
    pub fn on_answered(&mut self, bytes: usize) {
        self.answered_bytes += bytes as u64;
        let earned = u32::try_from(self.answered_bytes / ANSWERED_BYTES).unwrap_or(u32::MAX);
        self.answered_bytes %= ANSWERED_BYTES;
        self.earn(earned);
    }

    /// This came.
    pub fn on_read(&mut self, seen: Seen, now: Instant) -> Reading {
        self.earn(seen.calls.saturating_mul(PER_CALL));
        if seen.idle == 0 {
            return Reading::On;
        }
        let interval = Duration::from_secs(1) / PER_SECOND;
        let passed = now.saturating_duration_since(self.counted_at);
        let earned = u32::try_from(passed.as_nanos() / interval.as_nanos()).unwrap_or(u32::MAX);
        self.counted_at = if earned >= BURST { now } else { self.counted_at + interval * earned };
        self.earn(earned);
        if let Some(left) = self.left.checked_sub(seen.idle) {
            self.left = left;
            return Reading::On;
        }
        self.left = 0;
        if now.saturating_duration_since(self.silent_at) >= FORGIVEN_AFTER {
            self.silences = 0;
        }
        self.silent_at = now;
        self.silences += 1;
        if self.silences > MOST_SILENCES {
            return Reading::Over;
        }
        Reading::After(FIRST_SILENCE * (1 << (self.silences - 1)))
    }

    fn earn(&mut self, frames: u32) {
        self.left = self.left.saturating_add(frames).min(BURST);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, bytes: usize) -> Vec<u8> {
        let length = u32::try_from(bytes).expect("short").to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], &vec![kind; bytes]].concat()
    }

    fn idle(idle: u32) -> Seen {
        Seen { calls: 0, idle }
    }

    proptest! {
        #[test]
        fn frames_are_counted_wherever_their_bytes_are_cut(
            frames in prop::collection::vec((0u8..12, 0usize..600), 0..40),
            cuts in prop::collection::vec(1usize..300, 1..200),
        ) {
            let mut bytes = PREFACE.to_vec();
            let mut expected = Seen::default();
            for (kind, length) in frames {
                bytes.extend(frame(kind, length));
                expected.calls += u32::from(kind == HEADERS);
                expected.idle += u32::from(kind != HEADERS && (kind != DATA || length < LEAST_DATA_BYTES));
            }
            let (mut reader, mut seen, mut rest) = (Frames::default(), Seen::default(), &bytes[..]);
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at(cut.min(rest.len()));
                let part = reader.read(now);
                seen = Seen { calls: seen.calls + part.calls, idle: seen.idle + part.idle };
                rest = later;
            }
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn a_body_of_http_1_may_hold_anything() {
        let mut frames = Frames::default();
        let mut seen = frames.read(b"PUT /api/v1/files/z.img HTTP/1.1\r\nHost: localhost\r\n\r\n");
        for _ in 0..64 {
            let more = frames.read(&[0; 16 << 10]);
            seen = Seen { calls: seen.calls + more.calls, idle: seen.idle + more.idle };
        }
        assert_eq!(seen, Seen::default());
        let mut cut = Frames::default();
        assert_eq!(cut.read(b"PR"), Seen::default());
        assert_eq!(cut.read(b"OPFIND / HTTP/1.1\r\n"), Seen::default());
        assert_eq!(cut.read(&[0; 900]), Seen::default());
    }

    /// A sender at the edge of the other's window: each message of 256 KiB is cut in two, the second part a few bytes.
    #[test]
    fn a_push_to_a_slow_receiver_is_never_too_much() {
        let (mut budget, mut now) = (Budget::new(Instant::now()), Instant::now());
        let mut frames = Frames::default();
        frames.read(PREFACE);
        let message = [frame(DATA, 262_081), frame(DATA, 72)].concat();
        for _ in 0..20_000 {
            now += Duration::from_micros(500);
            assert_eq!(budget.on_read(frames.read(&message), now), Reading::On);
        }
    }

    #[test]
    fn pings_without_end_are_not_read_for_longer_and_longer_and_then_never() {
        let (mut budget, mut now) = (Budget::new(Instant::now()), Instant::now());
        assert_eq!(
            Frames::default().read(&[PREFACE.to_vec(), frame(PING, 8).repeat(500)].concat()),
            idle(500)
        );
        let mut read = 0;
        let mut silences = Vec::new();
        loop {
            match budget.on_read(idle(500), now) {
                Reading::On => read += 500,
                Reading::After(silence) => {
                    silences.push(u64::try_from(silence.as_millis()).expect("short"));
                    now += silence;
                }
                Reading::Over => break,
            }
        }
        assert_eq!(silences, [250, 500, 1000, 2000]);
        assert!(read < 4000, "{read} in 4 s");
    }

    #[test]
    fn what_comes_with_calls_and_answers_and_now_and_then_is_never_too_much() {
        let mut now = Instant::now();
        let mut budget = Budget::new(now);
        for _ in 0..100_000 {
            now += Duration::from_micros(50);
            assert_eq!(budget.on_read(Seen { calls: 1, idle: 4 }, now), Reading::On);
        }
        for _ in 0..100_000 {
            now += Duration::from_micros(50);
            budget.on_answered(16 << 10);
            assert_eq!(budget.on_read(idle(3), now), Reading::On);
        }
        for _ in 0..10_000 {
            now += Duration::from_millis(5);
            assert_eq!(budget.on_read(idle(1), now), Reading::On);
        }
        // A burst, and the rest of it much later.
        for _ in 0..20 {
            now += Duration::from_secs(10);
            assert_eq!(budget.on_read(idle(BURST), now), Reading::On);
        }
    }

    #[test]
    fn what_is_too_much_leaves_nothing() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        assert_eq!(budget.on_read(idle(BURST - 100), now), Reading::On);
        assert_eq!(budget.on_read(idle(101), now), Reading::After(FIRST_SILENCE));
        assert_eq!(budget.on_read(idle(100), now), Reading::After(2 * FIRST_SILENCE));
    }

    #[test]
    fn answers_in_small_parts_earn_together_and_once() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        assert_eq!(budget.on_read(idle(BURST), now), Reading::On);
        for _ in 0..7 {
            budget.on_answered(1 << 10);
        }
        assert_eq!(budget.on_read(idle(1), now), Reading::On);
        assert_ne!(budget.on_read(idle(1), now), Reading::On);
    }

    #[test]
    fn silences_of_long_ago_are_forgotten() {
        let mut now = Instant::now();
        let mut budget = Budget::new(now);
        for _ in 0..3 * MOST_SILENCES {
            assert_eq!(budget.on_read(idle(BURST + 1), now), Reading::After(FIRST_SILENCE));
            now += FORGIVEN_AFTER;
        }
    }
}
