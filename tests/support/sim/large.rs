//! Networks too large to simulate message by message: whom a search reaches, drawn peer by peer from the probabilities that
//! follow from a [`Profile`], and messages counted as the rules send them. Checked against the event simulation at 1,000 peers.

use floodplain::{
    protocol::{
        crossing::MAX_HANDED_OVER,
        id::{PeerId, QueryId},
        summary::{Density, Summary},
    },
    wire,
};
use prost::Message;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{
    filter::Shape,
    random::{Zipf, happens},
    vocabulary::Vocabulary,
    world::{Choice, Kind, NAME_WORDS, Profile, file_count, name},
};

/// How much of words gateways know their pairs by, the longest first.
const GATEWAY_PAIR_CHARS: [usize; 2] = [5, 3];
/// Zones in the first wave when some hits are enough; each further wave has twice as many.
const FIRST_ZONES: usize = 4;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    pub peers: usize,
    pub zone_size: usize,
    pub searches: usize,
    pub peer_errors: Errors,
    pub zone_errors: Errors,
    /// Zones whose filter a gateway holds, the next ones by number; all others are always asked.
    pub filters: usize,
    /// This many hits are enough.
    pub want: Option<f64>,
}

/// How often a filter lets a key pass that is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Errors {
    pub single: f64,
    pub pair: f64,
}

impl Errors {
    /// Of filters of one density, by how full they are.
    pub fn of<'a>(filters: impl Iterator<Item = &'a Summary>, density: Density) -> Self {
        let (mut errors, mut count) = (Self::default(), 0.0);
        for filter in filters {
            let ones: u32 = filter.to_bytes().iter().map(|byte| byte.count_ones()).sum();
            let full = f64::from(ones) / (filter.size_bytes() * 8) as f64;
            errors.single += full.powf(f64::from(density.single_hashes));
            errors.pair += full.powf(f64::from(density.pair_hashes));
            count += 1.0;
        }
        Self { single: errors.single / count, pair: errors.pair / count }
    }
}

/// Of one search.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reach {
    pub messages: f64,
    pub home: f64,
    /// Other zones that were entered.
    pub zones: f64,
    /// Files that match.
    pub hits: f64,
}

pub struct Large {
    profile: Profile,
    vocabulary: Vocabulary,
    zipf: Zipf,
    popularity: Zipf,
    /// Of each peer.
    files: Vec<f64>,
    all_files: f64,
    /// Names that have a given pair of words at given places, of all pairs of places of a name.
    places: f64,
    words: f64,
}

/// What a search needs of a peer, as probabilities for one word of one name, or for one pair of words of one name.
struct Need {
    /// Words as the filters know them, by their longest beginning, and how often a word that pairs as it does is one.
    singles: Vec<Single>,
    /// The pair of words, as members know it by summaries.
    pair: f64,
    /// The same, as gateways know it: by the longest beginnings of which the last word has as much.
    gateway_pair: f64,
    /// All words in one name.
    hit: f64,
}

struct Single {
    mass: f64,
    of_pair: f64,
    of_gateway_pair: f64,
}

impl Large {
    pub fn new(profile: Profile, peers: usize, seed: u64) -> Self {
        let rng = &mut SmallRng::seed_from_u64(seed);
        let vocabulary = Vocabulary::new(profile.words, rng);
        let zipf = Zipf::new(profile.words, profile.word_exponent);
        let popularity =
            Zipf::new((profile.shared_per_peer * peers as f64).ceil() as usize, profile.shared_exponent);
        let files: Vec<f64> = (0..peers).map(|_| file_count(&profile, rng) as f64).collect();
        let mean = |of: fn(f64) -> f64| {
            NAME_WORDS.map(|count| of(count as f64)).sum::<f64>() / NAME_WORDS.count() as f64
        };
        let (places, words) = (mean(|count| count * (count - 1.0)), mean(|count| count));
        let all_files = files.iter().sum();
        Self { profile, vocabulary, zipf, popularity, files, all_files, places, words }
    }

    /// Two words, for what someone has, or as a miss.
    pub fn run(&self, scale: &Scale, kind: Kind, seed: u64) -> Vec<Reach> {
        let rng = &mut SmallRng::seed_from_u64(seed);
        (0..scale.searches).map(|_| self.search(scale, kind, rng)).collect()
    }

    fn search(&self, scale: &Scale, kind: Kind, rng: &mut SmallRng) -> Reach {
        let is_miss = kind == Kind::Miss;
        let pick = |count: usize, rng: &mut SmallRng| {
            let mut words = name(&self.zipf, rng).into_vec();
            if self.profile.choice == Choice::NotTheCommonest && words.len() > count {
                words.remove(0);
            }
            while words.len() > count {
                words.swap_remove(rng.random_range(0..words.len()));
            }
            let at = rng.random_range(0..words.len());
            words.swap(0, at);
            words
        };
        // A miss is a pair that nobody has: drawn again until chance allows that.
        let need = loop {
            let words = match kind {
                Kind::Words(count) => pick(count, rng),
                Kind::Miss => [pick(1, rng), pick(1, rng)].concat(),
            };
            let need = self.need(&words);
            let expected = self.all_files * self.places * need.hit;
            if !is_miss || happens((-expected).exp(), rng) {
                break need;
            }
        };
        let holders = if is_miss { Vec::new() } else { self.holders(rng) };
        let origin = rng.random_range(0..self.files.len());
        let home = origin / scale.zone_size;
        let mut reach = Reach::default();
        let in_home = self.zone(home, scale, &need, &holders, is_miss, Some(origin), rng);
        let is_gateway = origin % scale.zone_size < 2;
        let is_left_to_gateway = scale.want.is_none()
            && self.files.len() > scale.zone_size
            && (is_gateway || in_home.asked <= MAX_HANDED_OVER as f64);
        let asked = if is_left_to_gateway { in_home.asked_by_keys } else { in_home.asked };
        (reach.messages, reach.home, reach.hits) = (asked, asked, in_home.hits);
        let is_enough = |hits: f64| scale.want.is_some_and(|want| hits >= want);
        let zones = self.files.len().div_ceil(scale.zone_size);
        if zones == 1 || is_enough(reach.hits) {
            return reach;
        }
        reach.messages += f64::from(u8::from(!is_gateway));
        let offset = rng.random_range(0..zones);
        let others = (0..zones).map(|zone| (zone + offset) % zones).filter(|zone| *zone != home);
        let (mut in_wave, mut wave) = (0, if scale.want.is_some() { FIRST_ZONES } else { usize::MAX });
        for zone in others {
            let found = self.zone(zone, scale, &need, &holders, is_miss, None, rng);
            let is_held = (zone + zones - home) % zones <= scale.filters;
            if is_held && !found.passes(scale.zone_errors, rng) {
                continue;
            }
            if in_wave == wave {
                if is_enough(reach.hits) {
                    break;
                }
                (in_wave, wave) = (0, wave.saturating_mul(2));
            }
            in_wave += 1;
            reach.zones += 1.0;
            reach.messages += 1.0 + found.asked;
            reach.hits += found.hits;
        }
        reach
    }

    /// Peers that have the document that was searched for.
    fn holders(&self, rng: &mut SmallRng) -> Vec<usize> {
        let count = if happens(self.profile.shared, rng) {
            // Popular documents are searched for as often as they are held.
            let copies = self.all_files * self.profile.shared;
            (copies * self.popularity.share(self.popularity.draw(rng))).round().max(1.0) as usize
        } else {
            1
        };
        let mut holders: Vec<usize> = (0..count).map(|_| rng.random_range(0..self.files.len())).collect();
        holders.sort_unstable();
        holders
    }

    fn need(&self, words: &[u32]) -> Need {
        let mass = |prefix: &str| -> f64 {
            self.vocabulary.beginning(prefix).iter().map(|rank| self.zipf.share(*rank as usize)).sum()
        };
        let shape = Shape::PROTOCOL;
        let (last, head) = words.split_last().expect("a query has a word");
        // Of one word, by so much of it.
        let known_by = |rank: &u32, chars: Option<usize>| -> Option<f64> {
            let by_beginning = chars.and_then(|chars| self.vocabulary.word(*rank).get(..chars)).map(mass);
            by_beginning.or_else(|| (rank != last).then(|| self.zipf.share(*rank as usize)))
        };
        let pair_by = |chars: Option<usize>| -> f64 {
            let known: Option<Vec<f64>> = words.iter().map(|rank| known_by(rank, chars)).collect();
            known.filter(|known| known.len() > 1).map_or(f64::INFINITY, |known| known.iter().product())
        };
        let gateway_chars = GATEWAY_PAIR_CHARS.into_iter().find(|chars| pair_by(Some(*chars)).is_finite());
        let single = |rank: &u32| {
            let word = self.vocabulary.word(*rank);
            let longest = shape.beginnings.iter().rev().find(|chars| **chars <= word.len()).copied();
            let mass = known_by(rank, longest)?;
            let of = |chars| known_by(rank, chars).map_or(0.0, |pair| (mass / pair).min(1.0));
            Some(Single { mass, of_pair: of(shape.pair_chars), of_gateway_pair: of(gateway_chars) })
        };
        let exact = head.iter().map(|rank| self.zipf.share(*rank as usize)).product::<f64>();
        Need {
            singles: words.iter().filter_map(single).collect(),
            pair: pair_by(shape.pair_chars),
            gateway_pair: gateway_chars.map_or(f64::INFINITY, |chars| pair_by(Some(chars))),
            hit: exact * mass(self.vocabulary.word(*last)),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one draw, of which everything matters")]
    fn zone(
        &self,
        zone: usize,
        scale: &Scale,
        need: &Need,
        holders: &[usize],
        is_miss: bool,
        origin: Option<usize>,
        rng: &mut SmallRng,
    ) -> InZone {
        let members = zone * scale.zone_size..((zone + 1) * scale.zone_size).min(self.files.len());
        let gateway = members.start + rng.random_range(0..2.min(members.len()));
        // Another zone is asked by its gateway, which has the keys.
        let (pair, errors) = match origin {
            Some(_) => (need.pair, scale.peer_errors),
            None => (need.gateway_pair, Errors::default()),
        };
        let mut found = InZone { has_single: vec![false; need.singles.len()], ..InZone::default() };
        for peer in members {
            let files = self.files[peer];
            let is_holder = holders.binary_search(&peer).is_ok();
            let expected_hits = if is_miss { 0.0 } else { files * self.places * need.hit };
            let hits = poisson(expected_hits, rng) + f64::from(u8::from(is_holder));
            // Beside names with a hit there are those that only look so to a filter.
            let looks = files * self.places * (pair - need.hit).max(0.0);
            let has_pair = hits > 0.0 || happens(-(-looks).exp_m1(), rng);
            let mut seems = has_pair || happens(errors.pair, rng);
            // Of those whom summaries let pass, the ones that a gateway of this zone asks.
            let looks_by_keys = files * self.places * (need.gateway_pair - need.hit).max(0.0);
            let mut has_keys = hits > 0.0 || happens(-(-looks_by_keys).exp_m1(), rng);
            for (single, in_zone) in need.singles.iter().zip(&mut found.has_single) {
                let by_others = -(-files * self.words * single.mass).exp_m1();
                let of_pair = if origin.is_some() { single.of_pair } else { single.of_gateway_pair };
                let of_pair = if has_pair { of_pair } else { 0.0 };
                let has = hits > 0.0 || happens(of_pair + (1.0 - of_pair) * by_others, rng);
                *in_zone |= has;
                seems &= has || happens(errors.single, rng);
                has_keys &= has;
            }
            found.hits += hits;
            found.has_pair |= has_pair;
            let is_asking = origin.map_or(peer == gateway, |origin| origin == peer);
            if !is_asking && seems {
                found.asked += 1.0;
                found.asked_by_keys += f64::from(u8::from(has_keys));
            }
        }
        found
    }
}

#[derive(Default)]
struct InZone {
    asked: f64,
    /// Those of them whom keys do not rule out.
    asked_by_keys: f64,
    hits: f64,
    has_pair: bool,
    has_single: Vec<bool>,
}

impl InZone {
    /// The filter of the zone lets the search pass.
    fn passes(&self, errors: Errors, rng: &mut SmallRng) -> bool {
        let may_hold = |is_there: bool, errors: f64, rng: &mut SmallRng| is_there || happens(errors, rng);
        may_hold(self.has_pair, errors.pair, rng)
            && self.has_single.iter().all(|is_there| may_hold(*is_there, errors.single, rng))
    }
}

/// Knuth's way, for the small means here; a normal approximation above.
fn poisson(mean: f64, rng: &mut SmallRng) -> f64 {
    if mean > 30.0 {
        return (mean + mean.sqrt() * super::random::normal(rng)).round().max(0.0);
    }
    let (limit, mut product, mut count) = ((-mean).exp(), rng.random::<f64>(), 0.0);
    while product > limit {
        product *= rng.random::<f64>();
        count += 1.0;
    }
    count
}

/// Bytes of one message of a search and of its answer without hits, on a connection that is open: the request with a
/// claim and a deadline, the report of one peer, and around each the frames and compressed headers of a gRPC call, as frames
/// have them (9 bytes each, and 5 before a message) and headers are taken to need them (60 there, 40 and 10 back).
pub fn message_bytes() -> f64 {
    let claim = wire::pb::Claim { before_id: vec![1; PeerId::SIZE].into() };
    let request = wire::pb::SearchRequest {
        query_id: vec![1; QueryId::SIZE].into(),
        text: "annual report".into(),
        ttl: 15,
        hops: 1,
        roster_revision: 1 << 40,
        claim: Some(claim),
        origin_id: vec![1; PeerId::SIZE].into(),
        from_id: vec![1; PeerId::SIZE].into(),
        ..Default::default()
    };
    let done = wire::pb::SearchDone { answered: vec![u64::MAX], messages: 1, ..Default::default() };
    let there = 9 + 60 + 9 + 5 + request.encoded_len();
    let back = 9 + 40 + 9 + 5 + done.encoded_len() + 9 + 10;
    (there + back) as f64
}
