//! The parallel decoder against the sequential one of the `bzip2` crate.

use super::*;
use proptest::prelude::*;
use std::io::{BufReader, Cursor, Write};

fn packed(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that do not compress well, so that streams have some length.
fn noise(seed: u64, num_bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 56) as u8 & 0x3f
    };
    (0..num_bytes).map(|_| next()).collect()
}

type Outcome = (Vec<u8>, Option<io::ErrorKind>);

fn drain(mut input: impl Read) -> Outcome {
    let mut out = Vec::new();
    let error = input.read_to_end(&mut out).err().map(|error| error.kind());
    (out, error)
}

fn sequential(file: &[u8]) -> Outcome {
    drain(bzip2::bufread::MultiBzDecoder::new(Cursor::new(file)))
}

/// Decodes with segments of at least `least` bytes, read in small steps.
fn parallel(file: &[u8], least: usize, threads: usize) -> Outcome {
    let raw = BufReader::with_capacity(257, Cursor::new(file.to_vec()));
    let segments = Segments { raw, least, held: Vec::new(), is_start: true };
    drain(ParallelDecoder::of_segments(Box::new(segments), threads))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_layout_of_streams_decodes_as_in_order(
        sizes in prop::collection::vec(0_usize..6000, 0..12),
        levels in prop::collection::vec(1_u32..=9, 12),
        least in 0_usize..3000,
        threads in 0_usize..4,
    ) {
        let streams = sizes.iter().zip(&levels).enumerate();
        let file: Vec<u8> =
            streams.flat_map(|(seed, (&size, &level))| packed(&noise(seed as u64 + 1, size), level)).collect();
        let (bytes, error) = sequential(&file);
        prop_assert_eq!(bytes.len(), sizes.iter().sum::<usize>());
        // an empty file is cut short
        prop_assert_eq!(error.is_some(), sizes.is_empty());
        prop_assert!(parallel(&file, least, threads) == (bytes, error));
    }

    #[test]
    fn starts_by_chance_change_nothing(
        sizes in prop::collection::vec(1_usize..6000, 1..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        threads in 1_usize..4,
    ) {
        let file: Vec<u8> =
            sizes.iter().enumerate().flat_map(|(seed, &size)| packed(&noise(seed as u64 + 1, size), 9)).collect();
        let mut borders: Vec<usize> = cuts.iter().map(|cut| cut.index(file.len())).collect();
        borders.extend([0, file.len()]);
        borders.extend((0..file.len()).filter(|&at| is_stream_start(&file[at..])));
        borders.sort_unstable();
        borders.dedup();
        let segments: Vec<io::Result<Segment>> =
            borders.windows(2).map(|ends| Ok(Segment { bytes: file[ends[0]..ends[1]].to_vec(), is_start: true })).collect();
        let decoder = ParallelDecoder::of_segments(Box::new(segments.into_iter()), threads);
        prop_assert!(drain(decoder) == sequential(&file));
    }

    #[test]
    fn damage_gives_the_same_error(
        sizes in prop::collection::vec(1_usize..6000, 1..8),
        at in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
        bit in 0_u8..8,
    ) {
        let mut file: Vec<u8> =
            sizes.iter().enumerate().flat_map(|(seed, &size)| packed(&noise(seed as u64 + 1, size), 9)).collect();
        let at = at.index(file.len());
        if is_cut {
            file.truncate(at);
        } else {
            file[at] ^= 1 << bit;
        }
        let (bytes, error) = sequential(&file);
        let (got_bytes, got_error) = parallel(&file, 0, 2);
        prop_assert_eq!(got_error, error);
        // how much of a damaged stream is made before it is found out depends on the sizes of buffers
        prop_assert!(got_bytes.starts_with(&bytes) || bytes.starts_with(&got_bytes));
    }
}

#[test]
fn a_long_stream_is_decoded_in_order_with_bounded_memory() {
    let bytes = noise(1, 7 << 20);
    let mut file = packed(&bytes, 9);
    file.extend(packed(b"end", 9));
    assert!(file.len() > SEGMENT_BYTES + LEAST_BYTES);
    let segments = Segments { raw: Cursor::new(file.clone()), least: LEAST_BYTES, held: Vec::new(), is_start: true };
    let kinds: Vec<(bool, bool)> = segments
        .map(|segment| segment.unwrap())
        .map(|part| (part.is_start, part.bytes.len() <= SEGMENT_BYTES))
        .collect();
    assert_eq!(kinds, [(true, true), (false, true), (true, true)]);
    assert!(drain(ParallelDecoder::new(Cursor::new(file), 2)) == ([&bytes[..], b"end"].concat(), None));

    // 64 MiB from a few dozen bytes: a thread stops at its limit, and the rest is made as it is read
    let file = packed(&vec![0; 64 << 20], 9);
    let mut decoding = Decoding { input: file.clone(), ..Decoding::default() };
    decoding.advance(OUTPUT_BYTES);
    assert!(decoding.output.capacity() <= 2 * OUTPUT_BYTES + STEP_BYTES, "{}", decoding.output.capacity());
    let (bytes, error) = drain(ParallelDecoder::new(Cursor::new(file), 2));
    assert_eq!((bytes.len(), error), (64 << 20, None));
}
