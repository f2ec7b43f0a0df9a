//! The keys of a peer on their way to the gateways of its zone, and the filters of zones on their way to other gateways.

use super::{Invalid, pb, required};
use crate::protocol::{
    id::ZoneId,
    report::MAX_REPORTED,
    summary::{
        Change, Density, GATEWAY_SHAPE, Keys, MAX_GATEWAY_KEYS,
        zone::{MAX_PART_BLOCKS, News},
    },
};

const KEY_BYTES: usize = 4;
const BLOCK_BYTES: usize = 8;
/// Largest answer with keys: the most there can be, and its frame.
pub const MAX_KEYS_ANSWER_BYTES: usize = MAX_GATEWAY_KEYS * KEY_BYTES + 4096;
/// Largest message of news: the most blocks, each with its place, and the frame.
pub const MAX_NEWS_BYTES: usize = MAX_PART_BLOCKS * (BLOCK_BYTES + 5) + 4096;

/// What a peer answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// The caller holds them.
    Held,
    /// All of them.
    Keys(Keys),
    /// Keys of another shape, of which nothing is understood.
    Unknown,
}

/// Checks an answer; the version with it.
pub fn keys(response: pb::GetKeysResponse) -> Result<(u64, Given), Invalid> {
    let Some(told) = response.keys else { return Ok((response.version, Given::Held)) };
    if told.shape != GATEWAY_SHAPE {
        return Ok((response.version, Given::Unknown));
    }
    let (keys, rest) = told.keys.as_chunks::<KEY_BYTES>();
    if !rest.is_empty() || keys.len() > MAX_GATEWAY_KEYS {
        return Err(Invalid::new(
            "keys.keys",
            format!("must be whole keys of 4 bytes, at most {MAX_GATEWAY_KEYS}"),
        ));
    }
    let keys = keys.iter().map(|key| u32::from_le_bytes(*key)).collect();
    let keys = Keys::from_sorted(keys, told.has_pairs)
        .map_err(|error| Invalid::new("keys.keys", error.to_string()))?;
    Ok((response.version, Given::Keys(keys)))
}

/// An answer on its way out; without keys for a caller that holds them.
pub fn to_keys(version: u64, keys: Option<&Keys>) -> pb::GetKeysResponse {
    let keys = keys.map(|keys| pb::WordKeys {
        shape: GATEWAY_SHAPE,
        has_pairs: keys.has_pairs(),
        keys: keys.as_slice().iter().flat_map(|key| key.to_le_bytes()).collect(),
    });
    pb::GetKeysResponse { version, keys }
}

/// Checks which zone is to be watched.
pub fn watched_zone(request: pb::WatchZoneRequest) -> Result<ZoneId, Invalid> {
    ZoneId::new(request.zone_id).ok_or_else(|| Invalid::new("zone_id", "must not be 0"))
}

/// Asks for the filter of a zone.
pub fn to_watch(zone: ZoneId) -> pb::WatchZoneRequest {
    pb::WatchZoneRequest { zone_id: zone.get() }
}

/// Checks what a gateway tells of its zone, as far as it can be checked without what it told before.
pub fn news(response: pb::WatchZoneResponse) -> Result<News, Invalid> {
    use pb::watch_zone_response::News as Message;
    Ok(match required("news", response.news)? {
        Message::Unsettled(pb::ZoneUnsettled {}) => News::Unsettled,
        Message::Begin(begin) => {
            if begin.shape != GATEWAY_SHAPE {
                let problem = format!("is {}, and only {GATEWAY_SHAPE} is understood", begin.shape);
                return Err(Invalid::new("begin.shape", problem));
            }
            let most = Density::ZONE.max_bytes / BLOCK_BYTES;
            let is_fit = |blocks: &usize| (1..=most).contains(blocks);
            let blocks = usize::try_from(begin.blocks).ok().filter(is_fit);
            let blocks =
                blocks.ok_or_else(|| Invalid::new("begin.blocks", format!("must be 1 to {most}")))?;
            News::Begin { blocks, has_pairs: begin.has_pairs }
        }
        Message::Run(pb::ZoneFilterRun { first, blocks }) => {
            let (blocks, rest) = blocks.as_chunks::<BLOCK_BYTES>();
            if !rest.is_empty() || blocks.len() > MAX_PART_BLOCKS {
                let problem = format!("must be whole blocks of 8 bytes, at most {MAX_PART_BLOCKS}");
                return Err(Invalid::new("run.blocks", problem));
            }
            let values = blocks.iter().map(|block| u64::from_le_bytes(*block));
            let run: Vec<(u32, u64)> = (first..=u32::MAX).zip(values).collect();
            if run.len() != blocks.len() {
                return Err(Invalid::new("run.first", "must leave room for the blocks"));
            }
            News::Blocks(Change { blocks: run })
        }
        Message::Change(pb::SummaryChange { places, blocks }) => {
            if places.len() != blocks.len() || blocks.len() > MAX_PART_BLOCKS {
                let problem = format!("must be as many as the places, and at most {MAX_PART_BLOCKS}");
                return Err(Invalid::new("change.blocks", problem));
            }
            News::Blocks(Change { blocks: places.into_iter().zip(blocks).collect() })
        }
        Message::Settled(pb::ZoneSettled { version, listed }) => {
            let is_zone = usize::try_from(listed).is_ok_and(|listed| (1..=MAX_REPORTED).contains(&listed));
            if !is_zone {
                return Err(Invalid::new("settled.listed", format!("must be 1 to {MAX_REPORTED}")));
            }
            News::Settled { version, listed }
        }
    })
}

/// What a gateway tells, on its way out.
pub fn to_news(news: News) -> pb::WatchZoneResponse {
    use pb::watch_zone_response::News as Message;
    let message = match news {
        News::Unsettled => Message::Unsettled(pb::ZoneUnsettled {}),
        News::Begin { blocks, has_pairs } => {
            let blocks = u32::try_from(blocks).expect("a filter has 2^19 blocks at most");
            Message::Begin(pb::ZoneFilterBegin { shape: GATEWAY_SHAPE, has_pairs, blocks })
        }
        News::Blocks(Change { blocks }) => match &blocks[..] {
            [(first, _), ..] if blocks.iter().zip(*first..).all(|((place, _), next)| *place == next) => {
                let first = *first;
                let blocks = blocks.iter().flat_map(|(_, block)| block.to_le_bytes()).collect();
                Message::Run(pb::ZoneFilterRun { first, blocks })
            }
            _ => {
                let (places, blocks) = blocks.into_iter().unzip();
                Message::Change(pb::SummaryChange { places, blocks })
            }
        },
        News::Settled { version, listed } => Message::Settled(pb::ZoneSettled { version, listed }),
    };
    pb::WatchZoneResponse { news: Some(message) }
}

#[cfg(test)]
mod tests {
    use pb::watch_zone_response::News as Message;

    use super::*;
    use crate::protocol::summary::KeysOf;

    fn some_keys() -> Keys {
        let mut keys = KeysOf::default();
        keys.add(["annual", "report"]);
        keys.finish().unwrap().gateway
    }

    fn refused(message: Message) -> &'static str {
        news(pb::WatchZoneResponse { news: Some(message) }).unwrap_err().field
    }

    #[test]
    fn keys_survive_the_way_there_and_back_and_others_are_refused() {
        let given = some_keys();
        assert_eq!(keys(to_keys(3, Some(&given))), Ok((3, Given::Keys(given.clone()))));
        assert_eq!(keys(to_keys(3, None)), Ok((3, Given::Held)));
        let answer = to_keys(3, Some(&given));
        let with = |change: &dyn Fn(&mut pb::WordKeys)| {
            let mut answer = answer.clone();
            change(answer.keys.as_mut().unwrap());
            keys(answer).unwrap_err().field
        };
        let mut other = answer.clone();
        other.keys.as_mut().unwrap().shape += 1;
        assert_eq!(keys(other), Ok((3, Given::Unknown)));
        assert_eq!(with(&|told| told.keys = told.keys.slice(1..)), "keys.keys");
        assert_eq!(with(&|told| told.keys = [1, 0, 0, 0, 1, 0, 0, 0].to_vec().into()), "keys.keys");
        assert_eq!(with(&|told| told.has_pairs = false), "keys.keys");
        assert_eq!(with(&|told| told.keys = vec![0; (MAX_GATEWAY_KEYS + 1) * 4].into()), "keys.keys");
    }

    #[test]
    fn news_survive_the_way_there_and_back() {
        let change = |blocks: &[(u32, u64)]| News::Blocks(Change { blocks: blocks.into() });
        for told in [
            News::Unsettled,
            News::Begin { blocks: 64, has_pairs: true },
            News::Settled { version: 7, listed: 24 },
            change(&[]),
            change(&[(3, 1), (4, u64::MAX), (5, 0)]),
            change(&[(3, 1), (5, u64::MAX)]),
        ] {
            assert_eq!(news(to_news(told.clone())), Ok(told));
        }
        let is_run = |blocks: &[(u32, u64)]| matches!(to_news(change(blocks)).news, Some(Message::Run(_)));
        assert!(is_run(&[(0, 1), (1, 2)]) && !is_run(&[(0, 1), (2, 2)]) && !is_run(&[]));
    }

    #[test]
    fn news_that_are_none_are_refused() {
        assert_eq!(news(pb::WatchZoneResponse { news: None }).unwrap_err().field, "news");
        let begin = pb::ZoneFilterBegin { shape: GATEWAY_SHAPE, has_pairs: true, blocks: 1 };
        assert_eq!(
            refused(Message::Begin(pb::ZoneFilterBegin { shape: GATEWAY_SHAPE + 1, ..begin })),
            "begin.shape"
        );
        for blocks in [0, (4 << 20) / 8 + 1, u32::MAX] {
            assert_eq!(refused(Message::Begin(pb::ZoneFilterBegin { blocks, ..begin })), "begin.blocks");
        }
        let run = |first, bytes| Message::Run(pb::ZoneFilterRun { first, blocks: vec![0; bytes].into() });
        assert_eq!(refused(run(0, 12)), "run.blocks");
        assert_eq!(refused(run(0, (64 << 10) + 8)), "run.blocks");
        assert_eq!(refused(run(u32::MAX, 16)), "run.first");
        let change = |places, blocks| {
            Message::Change(pb::SummaryChange { places: vec![0; places], blocks: vec![0; blocks] })
        };
        assert_eq!(refused(change(1, 2)), "change.blocks");
        assert_eq!(refused(change(8193, 8193)), "change.blocks");
        for listed in [0, 16_385] {
            assert_eq!(refused(Message::Settled(pb::ZoneSettled { version: 1, listed })), "settled.listed");
        }
        assert_eq!(watched_zone(pb::WatchZoneRequest { zone_id: 0 }).unwrap_err().field, "zone_id");
    }

    #[test]
    fn the_largest_messages_are_within_what_is_read() {
        use prost::Message as _;
        let most = u32::try_from(MAX_PART_BLOCKS).unwrap();
        let apart = (0..most).map(|at| ((4 << 20) / 8 - 2 * most + 2 * at, u64::MAX)).collect();
        let run = (0..most).map(|at| (at, u64::MAX)).collect();
        for blocks in [apart, run] {
            assert!(to_news(News::Blocks(Change { blocks })).encoded_len() <= MAX_NEWS_BYTES);
        }
        let keys = Keys::from_sorted((0..u32::try_from(MAX_GATEWAY_KEYS).unwrap()).collect(), false).unwrap();
        assert!(to_keys(u64::MAX, Some(&keys)).encoded_len() <= MAX_KEYS_ANSWER_BYTES);
    }
}
