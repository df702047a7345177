//! Byte ranges: `Range` of a download (PULL-6, RFC 9110 §14) and `Content-Range` of an upload chunk (PUSH-CHUNK-4). Pure.

use std::ops::RangeInclusive;

/// What a `Range` header asks of content of a known size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// No range, or one that may be ignored (another unit, several ranges, no syntax): all of it, 200.
    Everything,
    /// 206.
    Part(RangeInclusive<u64>),
    /// 416.
    Unsatisfiable,
}

/// Reads a `Range` header against content of `size` bytes. A reversed range counts as unsatisfiable, as the conformance suite wants.
pub fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some(set) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else { return Wanted::Everything };
    let Some((first, last)) = set.trim().split_once('-') else { return Wanted::Everything };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last && first < size => Wanted::Part(first..=last.min(size - 1)),
        (Some(_), Some(_)) => Wanted::Unsatisfiable,
        (Some(first), None) if last.is_empty() => {
            if first < size {
                Wanted::Part(first..=size - 1)
            } else {
                Wanted::Unsatisfiable
            }
        }
        (None, Some(suffix)) if first.is_empty() => {
            if suffix > 0 && size > 0 {
                Wanted::Part(size.saturating_sub(suffix)..=size - 1)
            } else {
                Wanted::Unsatisfiable
            }
        }
        _ => Wanted::Everything,
    }
}

/// The place of a chunk in its upload: `<first>-<last>`, inclusive, without unit or total. `None` when it is not that.
pub fn chunk(header: &str) -> Option<RangeInclusive<u64>> {
    let (first, last) = header.trim().split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(first..=last)
}

/// Decimal digits only: no sign, no blank, no overflow.
fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_cut_to_the_content() {
        for (header, size, expected) in [
            ("bytes=500-1499", 2000, Wanted::Part(500..=1499)),
            ("bytes=500-", 2000, Wanted::Part(500..=1999)),
            ("bytes=-500", 2000, Wanted::Part(1500..=1999)),
            ("bytes=-5000", 2000, Wanted::Part(0..=1999)),
            ("bytes=500-99999", 2000, Wanted::Part(500..=1999)),
            ("bytes=0-0", 1, Wanted::Part(0..=0)),
            ("bytes=500-0", 2000, Wanted::Unsatisfiable),
            ("bytes=5000-10000", 2000, Wanted::Unsatisfiable),
            ("bytes=2000-", 2000, Wanted::Unsatisfiable),
            ("bytes=-0", 2000, Wanted::Unsatisfiable),
            ("bytes=0-", 0, Wanted::Unsatisfiable),
            ("bytes=-1", 0, Wanted::Unsatisfiable),
            ("items=0-1", 2000, Wanted::Everything),
            ("bytes=0-1,5-6", 2000, Wanted::Everything),
            ("bytes=a-b", 2000, Wanted::Everything),
            ("bytes=-", 2000, Wanted::Everything),
            ("bytes=", 2000, Wanted::Everything),
            ("bytes=99999999999999999999-", 2000, Wanted::Everything),
        ] {
            assert_eq!(wanted(Some(header), size), expected, "{header} of {size}");
        }
        assert_eq!(wanted(None, 5), Wanted::Everything);
    }

    #[test]
    fn chunks_have_no_unit_and_no_total() {
        assert_eq!(chunk("0-9"), Some(0..=9));
        assert_eq!(chunk("10-10"), Some(10..=10));
        for bad in ["bytes 0-9", "0-9/10", "9-0", "-9", "0-", "", "0 - 9", "+0-9", "0-99999999999999999999"] {
            assert_eq!(chunk(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_part_always_lies_inside_the_content(header in "bytes=[0-9]{0,6}-[0-9]{0,6}", size in 0u64..100_000) {
            if let Wanted::Part(range) = wanted(Some(&header), size) {
                prop_assert!(range.start() <= range.end());
                prop_assert!(*range.end() < size);
            }
        }

        #[test]
        fn any_header_is_read_without_panic(header in ".{0,40}", size in any::<u64>()) {
            let _ = (wanted(Some(&header), size), chunk(&header));
        }
    }
}
