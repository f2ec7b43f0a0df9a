//! Files of the demo: real ones, the same at every run, with words to search for.

use std::{fmt::Write as _, fs, io, path::Path};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// Held, the same, by every second peer.
pub(super) const HANDBOOK: &str = "handbook.md";
/// Words of the texts.
const WORDS: [&str; 32] = [
    "river", "meadow", "levee", "gauge", "flood", "plain", "water", "bank", "bridge", "survey", "season",
    "level", "basin", "stream", "delta", "harbor", "report", "budget", "meeting", "project", "measure",
    "station", "north", "south", "spring", "autumn", "record", "average", "sample", "quality", "inlet",
    "outlet",
];
const TOPICS: [&str; 8] = ["river", "meadow", "levee", "delta", "harbor", "basin", "bridge", "station"];

/// Makes the share of one peer and tells how many files it has; about 500 KiB.
pub(super) fn make(share: &Path, name: &str, number: usize) -> io::Result<u64> {
    let mut rng = SmallRng::seed_from_u64(number as u64);
    let topic = TOPICS[number % TOPICS.len()];
    for folder in ["reports", "media"] {
        fs::create_dir_all(share.join(folder))?;
    }
    let files = [
        (notes_of(name), text(&mut rng, &format!("Notes of {name}"), 2_000)),
        (format!("reports/{topic} report 2024.md"), text(&mut rng, &format!("The {topic} in 2024"), 20_000)),
        (format!("reports/{topic} gauge {number}.csv"), table(&mut rng)),
        (
            format!("media/{topic} at dawn {number}.wav"),
            sound(220 + 20 * u32::try_from(number % 32).unwrap_or_default()),
        ),
        (format!("media/{topic} map {number}.bmp"), picture(&mut rng)),
        // A name that has to be escaped in a page, a URL and a shell.
        (format!("100% café & 'menu' #{number}.txt"), text(&mut rng, "Menu", 400)),
    ];
    for (path, content) in &files {
        fs::write(share.join(path), content)?;
    }
    if !number.is_multiple_of(2) {
        return Ok(files.len() as u64);
    }
    fs::write(share.join(HANDBOOK), handbook())?;
    Ok(files.len() as u64 + 1)
}

/// The file that this peer alone has.
pub(super) fn notes_of(name: &str) -> String {
    format!("notes of {name}.txt")
}

/// The same for everyone.
pub(super) fn handbook() -> Vec<u8> {
    text(&mut SmallRng::seed_from_u64(4711), "Handbook", 50_000)
}

fn text(rng: &mut SmallRng, title: &str, words: usize) -> Vec<u8> {
    let mut text = format!("# {title}\n\n");
    for word in 1..=words {
        text.push_str(WORDS[rng.random_range(0..WORDS.len())]);
        text.push_str(if word.is_multiple_of(200) { ".\n\n" } else { " " });
    }
    text.into_bytes()
}

fn table(rng: &mut SmallRng) -> Vec<u8> {
    let mut text = String::from("day,level_cm,flow_m3_s\n");
    for day in 1..=365 {
        let (level, flow) = (rng.random_range(80..420), rng.random_range(3..90));
        writeln!(text, "{day},{level},{flow}").expect("a String takes everything");
    }
    text.into_bytes()
}

/// Two seconds of a tone: PCM, mono, 16 bit, 44.1 kHz.
fn sound(hertz: u32) -> Vec<u8> {
    const RATE: u32 = 44_100;
    let samples = (0..2 * RATE).map(|at| {
        let phase = f64::from(at) / f64::from(RATE) * f64::from(hertz) * std::f64::consts::TAU;
        #[expect(clippy::cast_possible_truncation, reason = "a sine of amplitude 8,000 fits 16 bit")]
        let sample = (phase.sin() * 8_000.0) as i16;
        sample
    });
    let data: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    let length = u32::try_from(data.len()).expect("two seconds of sound");
    let mut file = Vec::from(*b"RIFF");
    file.extend((36 + length).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(RATE.to_le_bytes());
    file.extend((2 * RATE).to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(length.to_le_bytes());
    file.extend(data);
    file
}

/// A picture of 256 by 256 points with 24 bit each.
fn picture(rng: &mut SmallRng) -> Vec<u8> {
    const SIDE: u32 = 256;
    const HEADERS: u32 = 54;
    let mut file = Vec::from(*b"BM");
    for number in [HEADERS + 3 * SIDE * SIDE, 0, HEADERS, 40, SIDE, SIDE] {
        file.extend(number.to_le_bytes());
    }
    file.extend(b"\x01\0\x18\0");
    file.extend([0; 24]);
    let tint: [u8; 3] = rng.random();
    for row in 0..=u8::MAX {
        for column in 0..=u8::MAX {
            file.extend([row ^ tint[0], column ^ tint[1], row.wrapping_add(column) ^ tint[2]]);
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_the_same_at_every_run_and_counted_right() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&one, &two] {
            assert_eq!(make(folder.path(), "ana", 0).unwrap(), 7);
            assert_eq!(make(&folder.path().join("b"), "ben", 1).unwrap(), 6);
        }
        let (mut count, mut bytes) = (0, 0);
        for entry in ignore::WalkBuilder::new(one.path()).build().map(Result::unwrap) {
            if entry.file_type().is_some_and(|kind| kind.is_file()) {
                let content = fs::read(entry.path()).unwrap();
                let other = two.path().join(entry.path().strip_prefix(one.path()).unwrap());
                assert_eq!(content, fs::read(other).unwrap(), "{}", entry.path().display());
                (count, bytes) = (count + 1, bytes + content.len());
            }
        }
        assert_eq!(count, 13);
        assert!((500_000..3_000_000).contains(&bytes), "{bytes}");
    }
}
