use proptest::prelude::*;

use super::*;

fn read_all(cuts: impl IntoIterator<Item = Bytes>) -> Result<Vec<Event>, Malformed> {
    let (mut reader, mut events): (Reader, Vec<Event>) = (Reader::default(), Vec::new());
    for cut in cuts {
        reader.push(cut);
        while let Some(event) = reader.event()? {
            // Parts of one run of bytes are joined, so that splits can be compared.
            match (events.last_mut(), event) {
                (Some(Event::Data { offset, bytes }), Event::Data { offset: next, bytes: more })
                    if *offset + bytes.len() as u64 == next =>
                {
                    *bytes = [&bytes[..], &more[..]].concat().into();
                }
                (_, event) => events.push(event),
            }
        }
    }
    reader.finish()?;
    Ok(events)
}

fn split(stream: &[u8], cuts: &[usize]) -> Vec<Bytes> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    cuts.extend([0, stream.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| Bytes::copy_from_slice(&stream[pair[0]..pair[1]])).collect()
}

fn by_hand(offset: u64, payload: &[u8]) -> Vec<u8> {
    let mut headroom = [0; HEADROOM];
    let start = write_header(&mut headroom, offset, payload.len());
    [&headroom[start..], payload].concat()
}

fn entry(path: String) -> pb::FileEntry {
    pb::FileEntry { content_hash: vec![7; 32].into(), path, size_bytes: 9, modify_time: None }
}

#[test]
fn the_headroom_is_as_large_as_the_largest_header() {
    assert_eq!(by_hand(u64::MAX, &[0; 1]).len() - 1, PREFIX + 11 + 2);
    let mut headroom = [0; HEADROOM];
    assert!(write_header(&mut headroom, u64::MAX, MAX_CHUNK_BYTES) < HEADROOM);
}

#[test]
fn a_generated_decoder_reads_what_is_framed_by_hand() {
    for (offset, payload) in [(0, &b"x"[..]), (1 << 40, &vec![9; 70_000][..]), (u64::MAX - 1, b"y")] {
        let framed = by_hand(offset, payload);
        let message: pb::DownloadResponse = unframe(framed.into()).expect("one message");
        assert_eq!((message.offset, &message.data[..]), (offset, payload));
    }
}

#[test]
fn fields_to_come_are_passed_over() {
    let mut body = vec![0x38, 0x96, 0x01, 0x32, 2, 1, 2, 0x31, 1, 2, 3, 4, 5, 6, 7, 8, 0x3d, 1, 2, 3, 4];
    body.extend(pb::DownloadResponse { offset: 5, data: "ab".into(), ..Default::default() }.encode_to_vec());
    let mut stream = vec![0, 0, 0, 0, u8::try_from(body.len()).expect("short")];
    stream.extend(body);
    let expected = vec![Event::Data { offset: 5, bytes: "ab".into() }];
    assert_eq!(read_all(split(&stream, &[])), Ok(expected.clone()));
    assert_eq!(read_all(stream.iter().map(|&byte| Bytes::from(vec![byte]))), Ok(expected));
}

#[test]
fn what_is_malformed_is_an_error() {
    let huge = [0, 0xff, 0xff, 0xff, 0xff];
    let compressed = [1, 0, 0, 0, 0];
    let long_field = [0, 0, 0, 0, 3, 0x1a, 9, 1];
    let endless_number = [0, 0, 0, 0, 12, 0x10, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
    let group = [0, 0, 0, 0, 1, 0x0b];
    let two_chunks = [0, 0, 0, 0, 6, 0x1a, 1, 1, 0x1a, 1, 1];
    let late_offset = [0, 0, 0, 0, 5, 0x1a, 1, 1, 0x10, 1];
    let cut_field = [0, 0, 0, 0, 1, 0x1a];
    let cut_stream = [0, 0, 0, 0, 3, 0x1a, 1];
    let bad_entry = [0, 0, 0, 0, 3, 0x0a, 1, 0xff];
    let long_tree = [0, 0, 8, 0, 5, 0x22, 0x81, 0x80, 0x20];
    let two_trees = [0, 0, 0, 0, 6, 0x22, 1, 1, 0x22, 1, 1];
    let late_tree = [0, 0, 0, 0, 6, 0x1a, 1, 1, 0x22, 1, 1];
    let bare_tree = [0, 0, 0, 0, 3, 0x22, 1, 1];
    let late_file = [0, 0, 0, 0, 7, 0x1a, 1, 1, 0x0a, 2, 0x18, 9];
    let two_files = [0, 0, 0, 0, 8, 0x0a, 2, 0x18, 9, 0x0a, 2, 0x18, 9];
    let place_and_file = [0, 0, 0, 0, 6, 0x0a, 2, 0x18, 9, 0x28, 1];
    let number_for_a_tree = [0, 0, 0, 0, 6, 0x0a, 2, 0x18, 9, 0x20, 1];
    let no_number = [0, 0, 0, 0, 2, 0x00, 1];
    let place_and_bytes = [0, 0, 0, 0, 5, 0x1a, 1, 1, 0x28, 1];
    for bad in [
        &long_tree[..],
        &two_trees,
        &late_tree,
        &bare_tree,
        &late_file,
        &two_files,
        &place_and_file,
        &place_and_bytes,
        &number_for_a_tree,
        &no_number,
        &huge,
        &compressed,
        &long_field,
        &endless_number,
        &group,
        &two_chunks,
        &late_offset,
        &cut_field,
        &cut_stream,
        &bad_entry,
    ] {
        assert!(read_all(split(bad, &[])).is_err(), "{bad:?}");
    }
    assert_eq!(read_all(split(&long_tree, &[])), Err(Malformed("the tree is too long")));
}

#[test]
fn a_place_in_the_queue_then_the_file_with_its_tree_are_told() {
    let entry = entry("a".into());
    let queued = |queue_position| frame(&pb::DownloadResponse { queue_position, ..Default::default() });
    let tree = Bytes::from(vec![5; MAX_TREE_BYTES]);
    let first = pb::DownloadResponse { file: Some(entry.clone()), tree: tree.clone(), ..Default::default() };
    let stream = [&queued(9)[..], &queued(1), &queued(0), &frame(&first), &by_hand(0, b"x")].concat();
    let expected = vec![
        Event::Queued(9),
        Event::Queued(1),
        Event::File { entry, tree },
        Event::Data { offset: 0, bytes: "x".into() },
    ];
    assert_eq!(read_all(stream.chunks(16 << 10).map(Bytes::copy_from_slice)), Ok(expected));
}

#[test]
fn bytes_in_the_message_of_their_file_come_after_it() {
    let first =
        pb::DownloadResponse { file: Some(entry("a".into())), data: "xy".into(), ..Default::default() };
    let events = read_all([frame(&first)]).expect("reads");
    assert!(matches!(&events[..], [Event::File { .. }, Event::Data { offset: 0, .. }]), "{events:?}");
}

#[test]
fn a_tree_that_is_announced_but_does_not_come_costs_no_memory() {
    let mut reader = Reader::default();
    reader.push(Bytes::from_static(&[0, 0, 8, 0, 4, 0x22, 0x80, 0x80, 0x20, 7, 7]));
    assert_eq!(reader.event(), Ok(None));
    let State::Tree(tree, size) = &reader.state else { panic!("{:?}", reader.state) };
    assert_eq!((tree.len(), *size), (2, MAX_TREE_BYTES));
    assert!(tree.capacity() < 64);
}

proptest! {
    #[test]
    fn any_split_of_a_stream_gives_the_same_events(
        path in ".{1,40}",
        offset in prop_oneof![Just(0), any::<u32>().prop_map(u64::from), Just(u64::MAX >> 1)],
        tree in prop::collection::vec(any::<u8>(), 0..2000),
        places in prop::collection::vec(any::<u32>(), 0..4),
        sizes in prop::collection::vec(1usize..3000, 0..6),
        cuts in prop::collection::vec(any::<usize>(), 0..40),
    ) {
        let mut stream = Vec::new();
        for queue_position in places {
            stream.extend(frame(&pb::DownloadResponse { queue_position, ..Default::default() }));
        }
        let tree = tree.into();
        stream.extend(frame(&pb::DownloadResponse { file: Some(entry(path)), tree, ..Default::default() }));
        let mut at = offset;
        for (number, size) in (0..).zip(sizes) {
            stream.extend(by_hand(at, &vec![number; size]));
            at += size as u64;
        }
        let whole = read_all([Bytes::from(stream.clone())]);
        prop_assert!(whole.is_ok());
        prop_assert_eq!(read_all(split(&stream, &cuts)), whole);
    }

    #[test]
    fn any_bytes_are_read_or_refused_the_same_way_in_any_split(
        noise in prop::collection::vec(prop_oneof![Just(0u8), 0u8..48, any::<u8>()], 0..80),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let mut stream = vec![0, 0, 0, 0, u8::try_from(noise.len().min(60)).expect("short")];
        stream.extend(noise);
        prop_assert_eq!(read_all(split(&stream, &cuts)), read_all([Bytes::from(stream)]));
    }
}
