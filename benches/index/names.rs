//! Names as a large collection has them, the same ones every time: words by Zipf's law, years, camera numbers, accents.

use std::fmt::Write;

/// Words that names are made of.
const WORDS: usize = 20_000;
/// Files of one folder.
const FOLDER: usize = 40;
const SEPARATORS: [char; 4] = [' ', '_', '-', '.'];
const EXTENSIONS: [&str; 16] = [
    "pdf", "pdf", "docx", "docx", "jpg", "txt", "xlsx", "odt", "mp3", "mkv", "zip", "rs", "md", "csv", "tex",
    "png",
];
/// 2023-01-01 and the seconds of the three years behind it.
const FIRST_S: u64 = 1_672_531_200;
const YEARS_S: u64 = 3 * 365 * 86_400;

/// One file.
#[derive(Debug)]
pub(crate) struct Name {
    /// Its folder below the share.
    pub(crate) folder: String,
    /// The last part of its path.
    pub(crate) file: String,
    pub(crate) size_bytes: u64,
    pub(crate) modified_s: u64,
}

impl Name {
    #[allow(dead_code)] // not by every user of this file
    pub(crate) fn path(&self) -> String {
        format!("share/{}/{}", self.folder, self.file)
    }
}

/// All of them, by number.
#[derive(Debug)]
pub(crate) struct Names {
    /// How often a word and those before it are drawn.
    sums: Vec<f64>,
}

impl Names {
    #[allow(clippy::cast_precision_loss)] // far below 2^53
    pub(crate) fn new() -> Self {
        let mut sum = 0.0;
        let add = |rank: usize| {
            sum += (rank as f64).powf(-0.8);
            sum
        };
        Self { sums: (1..=WORDS).map(add).collect() }
    }

    /// The word of a rank; 0 is the most frequent. Of two to four syllables.
    pub(crate) fn word(rank: usize) -> String {
        const CONSONANTS: &[u8; 15] = b"bdfgklmnprstvzh";
        const VOWELS: &[u8; 5] = b"aeiou";
        let syllables = 2 + rank % 3;
        // A walk over all beginnings that meets none twice: the factor has no divisor in common with 75.
        let mut rest = (rank / 3) * 2_207 + 11;
        (0..syllables)
            .flat_map(|_| {
                let syllable = rest % 75;
                rest = rest / 75 + syllable * 7;
                [CONSONANTS[syllable / 5], VOWELS[syllable % 5]]
            })
            .map(char::from)
            .collect()
    }

    /// The file of a number.
    pub(crate) fn file(&self, number: usize) -> Name {
        let mut random = Random(number as u64);
        let mut of_folder = Random((number / FOLDER) as u64 ^ 0x00F0_1DE5);
        let above = Self::word(of_folder.below(60));
        let (first, second) = (self.drawn(&mut of_folder), self.drawn(&mut of_folder));
        let folder = format!("{above}/{first} {second} {}", number / FOLDER);
        let extension = EXTENSIONS[random.below(EXTENSIONS.len())];
        let name = if random.below(10) < 2 {
            format!("IMG_{number:07}.jpg")
        } else {
            let separator = SEPARATORS[random.below(SEPARATORS.len())];
            let mut name = self.drawn(&mut random);
            for _ in 0..=random.below(4) {
                name.push(separator);
                name += &self.drawn(&mut random);
            }
            if random.below(3) == 0 {
                let _ = write!(name, "{separator}{}", 2010 + random.below(16));
            }
            if random.below(30) == 0 {
                name = name.replacen('e', "é", 1);
            }
            // Two of the same words in one folder are two files still.
            let _ = write!(name, "{separator}v{}.{extension}", number % FOLDER);
            name
        };
        let size_bytes = random.next() & ((1 << random.below(17)) - 1);
        Name { folder, file: name, size_bytes, modified_s: FIRST_S + random.next() % YEARS_S }
    }

    fn drawn(&self, random: &mut Random) -> String {
        #[allow(clippy::cast_precision_loss)] // 53 bits are left
        let at = (random.next() >> 11) as f64 / (1_u64 << 53) as f64 * self.sums[WORDS - 1];
        Self::word(self.sums.partition_point(|sum| *sum <= at))
    }
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }
}

/// What is asked of them: a kind, and the texts that are asked by turns.
pub(crate) fn queries(names: &Names, files: usize) -> Vec<(&'static str, Vec<String>)> {
    const TEXTS: usize = 20;
    let mut random = Random(7);
    // The words of names that are there, as people ask who remember a part of a name.
    let mut some = |least: usize| loop {
        let name = names.file(random.below(files)).file;
        if name.is_ascii() && !name.starts_with("IMG") {
            let words: Vec<String> = name.split(SEPARATORS).map(str::to_owned).collect();
            if words.len() >= least + 2 {
                return words;
            }
        }
    };
    let frequent = Names::word;
    let texts = |one: &mut dyn FnMut(usize) -> String| (0..TEXTS).map(one).collect::<Vec<_>>();
    vec![
        ("rare word", texts(&mut |at| names_of_cameras(names, files, at))),
        ("word of a name", texts(&mut |_| format!("{} ", some(1)[0]))),
        ("two words of a name", texts(&mut |_| some(2)[..2].join(" "))),
        ("three words of a name", texts(&mut |_| some(3)[..3].join(" "))),
        ("phrase", texts(&mut |_| format!("\"{}\"", some(2)[..2].join(" ")))),
        ("frequent word", texts(&mut |at| frequent(at))),
        ("two frequent words", texts(&mut |at| format!("{} {}", frequent(at), frequent(at + 7)))),
        ("frequent word, prefix", texts(&mut |at| format!("{} {}", frequent(at), &frequent(40 * at)[..3]))),
        ("frequent word, ext:", texts(&mut |at| format!("{} ext:pdf", frequent(at)))),
        ("frequent word, negation", texts(&mut |at| format!("{} -{}", frequent(at), frequent(at + 1)))),
        ("frequent phrase", texts(&mut |at| format!("\"{} {}\"", frequent(at), frequent(at + 7)))),
        ("prefix of 3 characters", texts(&mut |at| frequent(40 * at + 3)[..3].to_owned())),
        ("prefix of 1 character", texts(&mut |at| frequent(at)[..1].to_owned())),
        ("ext:", texts(&mut |at| format!("ext:{}", EXTENSIONS[at % EXTENSIONS.len()]))),
        ("type:", texts(&mut |_| "type:video".into())),
        ("size:", texts(&mut |at| format!("size:>{}", 60_000 + at))),
        ("size: of no file", texts(&mut |at| format!("size:>{}", 70_000 + at))),
        ("newer:", texts(&mut |at| format!("newer:2025-12-{:02}", at + 1))),
        ("frequent word, newer:", texts(&mut |at| format!("{} newer:2025-12-01", frequent(at)))),
        ("miss", texts(&mut |at| format!("{}xq", frequent(300 * at)))),
        (
            "miss of two known words",
            texts(&mut |at| format!("{} \"{}\"", frequent(9_000 + at), frequent(15_000 + at))),
        ),
    ]
}

/// A number that one name has.
fn names_of_cameras(names: &Names, files: usize, at: usize) -> String {
    let name =
        (at * files / 20..files).map(|number| names.file(number).file).find(|name| name.starts_with("IMG"));
    name.map_or_else(String::new, |name| name[4..11].to_owned())
}
