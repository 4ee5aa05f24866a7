//! A bound on the patterns that the C library is asked to compile.
//!
//! Purpose: see, before regcomp() does, that a POSIX pattern needs gigabytes, minutes or a deep stack; the standard
//! sets no limits, and glibc has none. May: compute. Never: judge whether a pattern is well formed.

/// How deep the groups of a pattern may be nested: regcomp() of glibc calls itself for each level.
const MAX_DEPTH: usize = 250;

/// How many copies of parts of the pattern its repetitions (`{n,m}`) may ask for. regcomp() of glibc makes these
/// copies, and needs memory and time in the square of their number.
const MAX_COPIES: u64 = 10_000;

/// The same for parts that match the empty string, as in `(a?){0,50}`: there glibc 2.36 takes time in the fourth
/// power of their number if the pattern has an anchor (100: 0.1 seconds; 255: 4 seconds).
const MAX_LOOSE_COPIES: u64 = 100;

/// The fourth powers of the lengths of such parts, summed over all copies of them: `(.*++++++x)++++` has 16 copies
/// of a part of 64 items, which take over 10 seconds. One part of 100 items is the most.
const MAX_WEIGHT: u64 = 100_000_000;

/// How many alternatives a group may have, and how many items that match the empty string may follow one another.
/// regcomp() records for each which of the others can be reached from it: with this number, that exceeds
/// [`crate::MAX_COMPILED`].
const MAX_CHAIN: u64 = 4_000;

/// An upper bound on the memory that regcomp() takes for the pattern, in bytes; `None` if that exceeds a limit of this
/// file. The pattern need not be well formed; then everything that regcomp() reads before it stops is counted.
pub(crate) fn most_memory(pattern: &[u8], extended: bool) -> Option<u64> {
    let (mut open, mut group) = (Vec::new(), Group::default());
    let (mut copies, mut loose_copies, mut signs, mut anchors) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut rest = pattern;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let mut escaped = None;
        if *byte == b'\\' {
            let Some((next, after)) = rest.split_first() else { break };
            (escaped, rest) = (Some(*next), after);
        }
        // In basic syntax it is the backslash that makes most of these special.
        let special = if extended { escaped.is_none().then_some(*byte) } else { escaped };
        signs = signs.saturating_add(special.is_some_and(|byte| b"()|?*+{".contains(&byte)).into());
        match special {
            Some(b'(') => open.push(std::mem::take(&mut group)),
            Some(b')') => {
                let item = group.end();
                group = open.pop().unwrap_or_default();
                group.add(item);
            }
            Some(b'|') => group.next_branch(),
            Some(b'{' | b'+') => {
                let (mut least, mut most) = (1, 2);
                if special == Some(b'{') {
                    (least, most, rest) = bounds(rest);
                }
                let more = group.repeat(most);
                copies = copies.saturating_add(more);
                if group.last.loose {
                    loose_copies = loose_copies.saturating_add(more);
                }
                if least == 0 {
                    group.last.make_loose();
                }
            }
            Some(b'?') => group.last.make_loose(),
            _ if escaped.is_none() && *byte == b'*' => group.last.make_loose(),
            _ => {
                if escaped.is_none() && *byte == b'[' {
                    rest = after_bracket(rest);
                }
                // Anchors match the empty string; so may back-references.
                let loose = match escaped {
                    None => matches!(byte, b'^' | b'$'),
                    Some(next) => matches!(next, b'0'..=b'9' | b'<' | b'>' | b'b' | b'B' | b'`' | b'\''),
                };
                anchors = anchors.saturating_add(loose.into());
                group.add(Item { size: 1, loose, weight: loose.into(), anchors: loose.into() });
            }
        }
        let weight = group.weight.saturating_add(group.last.weight).max(group.chain_weight());
        let copied = copies > MAX_COPIES || loose_copies > MAX_LOOSE_COPIES || weight > MAX_WEIGHT;
        if open.len() > MAX_DEPTH || copied || group.longest_chain() > MAX_CHAIN {
            return None;
        }
    }
    // Measured with glibc 2.36: 90 bytes for each byte of text, up to 20 for each pair of signs, and 11 for each three anchors.
    let times = copies.saturating_add(1);
    let anchors = anchors.saturating_mul(times);
    let signs = signs.saturating_mul(times).saturating_add(anchors);
    let length = u64::try_from(pattern.len()).unwrap_or(u64::MAX).saturating_add(copies);
    let pairs = signs.saturating_mul(signs).saturating_mul(24);
    let threes = anchors.saturating_mul(anchors).saturating_mul(signs).saturating_mul(12);
    Some(length.saturating_mul(150).saturating_add(pairs).saturating_add(threes).saturating_add(8 << 10))
}

/// A part of a pattern that a repetition may follow.
#[derive(Clone, Copy, Default)]
struct Item {
    /// How many single items it is made of.
    size: u64,
    /// Whether it matches the empty string.
    loose: bool,
    /// The fourth powers of the sizes of the loose parts in it, summed.
    weight: u64,
    /// How many anchors it has.
    anchors: u64,
}

impl Item {
    fn make_loose(&mut self) {
        self.loose = true;
        self.weight = self.weight.max(1);
    }
}

/// What was seen of a group, or of the whole pattern.
#[derive(Default)]
struct Group {
    /// Everything before the last item.
    size: u64,
    /// The weight of that.
    weight: u64,
    /// Whether a branch that has ended is loose.
    loose_branch: bool,
    /// Whether an item before the last of this branch is not loose.
    firm: bool,
    has_last: bool,
    last: Item,
    /// How many items there are, and how many anchors in them, that match the empty string and follow one another up to
    /// the last item.
    chain: (u64, u64),
    /// How many branches have ended.
    branches: u64,
    /// How many anchors there are before the last item.
    anchors: u64,
}

impl Group {
    fn add(&mut self, item: Item) {
        self.size = self.size.saturating_add(self.last.size);
        self.weight = self.weight.saturating_add(self.last.weight);
        self.firm |= self.has_last && !self.last.loose;
        self.chain = self.chain_with_last();
        self.anchors = self.anchors.saturating_add(self.last.anchors);
        (self.last, self.has_last) = (item, true);
    }

    fn next_branch(&mut self) {
        self.add(Item::default());
        self.loose_branch |= !self.firm;
        self.branches = self.branches.saturating_add(1);
        (self.firm, self.has_last, self.chain) = (false, false, (0, 0));
    }

    /// The chain up to here.
    fn chain_with_last(&self) -> (u64, u64) {
        let (items, anchors) = self.chain;
        match (self.has_last, self.last.loose) {
            (true, true) => (items.saturating_add(self.last.size), anchors.saturating_add(self.last.anchors)),
            (true, false) => (0, 0),
            (false, _) => self.chain,
        }
    }

    /// regcomp() copies what follows an anchor in a chain, with the anchors in it: what it takes for that grows like this.
    fn chain_weight(&self) -> u64 {
        let (items, anchors) = self.chain_with_last();
        items.saturating_mul(anchors).saturating_pow(2)
    }

    fn longest_chain(&self) -> u64 {
        self.chain_with_last().0.max(self.branches)
    }

    /// Multiplies the length of the last item by `times`, and returns the increase.
    fn repeat(&mut self, times: u64) -> u64 {
        let more = self.last.size.saturating_mul(times.saturating_sub(1));
        self.last.size = self.last.size.saturating_add(more);
        self.last.anchors = self.last.anchors.saturating_mul(times);
        self.last.weight = match self.last.loose {
            // The copies make one longer loose part.
            true => self.last.size.saturating_pow(4),
            false => self.last.weight.saturating_mul(times),
        };
        more
    }

    /// The group as an item.
    fn end(mut self) -> Item {
        self.next_branch();
        Item { size: self.size.max(1), loose: self.loose_branch, weight: self.weight, anchors: self.anchors }
    }
}

/// The lowest number of the repetition with which `text` begins, how many items regcomp() makes of the preceding one,
/// and what follows. `{3,}` is four items, the last of them with a star; so `+`, which is `{1,}`, is two.
fn bounds(text: &[u8]) -> (u64, u64, &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit() && *byte != b',').unwrap_or(text.len());
    let (inside, after) = text.split_at_checked(end).unwrap_or_default();
    let mut numbers = inside.split(|byte| *byte == b',').map(|digits| {
        digits.iter().fold(0_u64, |all, digit| {
            all.saturating_mul(10).saturating_add(u64::from(digit.wrapping_sub(b'0')))
        })
    });
    let least = numbers.next().unwrap_or(0);
    let open_ended = least > 0 && inside.ends_with(b",");
    let most = numbers.fold(least, u64::max).saturating_add(open_ended.into());
    let after = after.strip_prefix(b"\\").unwrap_or(after);
    (least, most, after.strip_prefix(b"}").unwrap_or(after))
}

/// What follows a bracket expression; `text` begins behind its `[`.
fn after_bracket(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(b"^").unwrap_or(text);
    let mut rest = text.strip_prefix(b"]").unwrap_or(text);
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b']', _) => return after,
            (b'[', [kind @ (b':' | b'.' | b'='), inside @ ..]) => {
                // Ends at the same mark and a bracket; if it does not end, regcomp() refuses the pattern.
                let end = inside.windows(2).position(|pair| pair == [*kind, b']']);
                if let Some(end) = end {
                    rest = inside.get(end.saturating_add(2)..).unwrap_or_default();
                }
            }
            _ => {}
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_too_complex(pattern: &[u8], extended: bool) -> bool {
        most_memory(pattern, extended).is_none()
    }

    #[test]
    fn complexity_ordinary_patterns_allowed() {
        for pattern in [
            "^(.{1,64})@(.{1,255})$",
            ".{1000,}",
            "((a{1,10}){1,10}){1,10}",
            "[[:alnum:]{9999}]{3}[]{9999}]{3}[^]{9999}]",
            r"\{99999,\}",
            r"a\(\(",
            "(a)(b)(c)",
            "{9999999}",
            "^(a?b*){1,40}$",
            "^(a*b|c+){1,255}$",
            "^(([^.]*\\.)+x){0,200}$",
            "^(a|b){0,255}(.{0,255})$",
        ] {
            assert!(!is_too_complex(pattern.as_bytes(), true), "{pattern}");
        }
        assert!(!is_too_complex(b"((((a{99999}", false));
        assert!(!is_too_complex(&b"(a)".repeat(1000), true));
        assert!(!is_too_complex(&b"x".repeat(100_000), true));
    }

    #[test]
    fn complexity_stacked_plus_refused() {
        // Each `+` doubles what precedes it: 21 of them, in 55 bytes, took a gigabyte.
        for pattern in [
            "(a|b),+++++++++++++++++++++}ay2,M-3",
            "a{1,}{1,}{1,}{1,}{1,}{1,}{1,}{1,}{1,}{1,}{1,}{1,}{1,}{1,}",
        ] {
            assert!(is_too_complex(pattern.as_bytes(), true), "{pattern}");
        }
        let nested = [&b"(".repeat(20)[..], b"a", &b"+)".repeat(20)].concat();
        assert!(is_too_complex(&nested, true));
        assert!(is_too_complex(&[b"a", &br"\+".repeat(20)[..]].concat(), false));
        assert!(is_too_complex(b"(a?)+++++++", true));
        assert!(
            is_too_complex(b"^(.*++++++\xab+++)++++}ex2,", true),
            "a loose part, copied with what is around it"
        );
        for pattern in ["^[a-z]+@([a-z0-9-]+[.])+[a-z]+$", "((a+)+)+", "a++", "(a*)+", "+a", "a{1,}{2,}"] {
            assert!(!is_too_complex(pattern.as_bytes(), true), "{pattern}");
        }
        assert!(
            !is_too_complex(&[b"a", &b"+".repeat(20)[..]].concat(), false),
            "a plus sign in basic syntax"
        );
    }

    #[test]
    fn complexity_chains_refused() {
        // 800 of them took 700 MB and three seconds, 80,000 alternatives the stack.
        for pattern in
            ["^".repeat(200), "\\<a?".repeat(100), "(^|a?)".repeat(100), "(a?|".to_owned() + &"$".repeat(200)]
        {
            assert!(is_too_complex(pattern.as_bytes(), true), "{pattern}");
        }
        assert!(is_too_complex(&b"a|".repeat(5_000), true));
        assert!(is_too_complex(&[b"x(", &b"a|".repeat(5_000)[..]].concat(), true));
        assert!(is_too_complex(&b"a?".repeat(5_000), true));
        for pattern in
            ["^foo|".repeat(1_000), "(^|,)x".repeat(1_000), "a?b".repeat(5_000), "\\bx*".repeat(20)]
        {
            assert!(!is_too_complex(pattern.as_bytes(), true), "{pattern}");
        }
        assert!(!is_too_complex(&b"a|".repeat(3_000), true));
    }

    #[test]
    fn complexity_memory_is_an_upper_bound() {
        use mapkeep_table_regex::posix::{Flags, Regex, allocated};
        let _alone = crate::rules::MEMORY.lock();
        let flags = Flags { extended: true, ignore_case: true, newline: false };
        let shapes = [
            ("", "abcdefgh", ""),
            ("", "a|", "b"),
            ("(", "a|", "b)"),
            ("", "a?", ""),
            ("^", "a?", "$"),
            ("^", "(a?)", "$"),
            ("^", "(|a)", "$"),
            ("", ".*", ""),
            ("", "[[:alpha:]x]", ""),
            ("", "^", ""),
            ("", "^|$|", "a"),
            ("", "\\<a?", ""),
            ("", "(a)\\1", ""),
            ("", "(a?)\\1?", ""),
            ("", "[a-z]+", ""),
            ("^", "([a-z0-9-]+[.])+", "$"),
            ("", "x{1,3}", ""),
            ("^(a?){1,", "9", "}$"),
            ("^(a|b){0,", "9", "}(.{0,9})$"),
            ("", "(((a?)))+", ""),
        ];
        for (before, middle, after) in shapes {
            for count in [1, 2, 8, 40, 90] {
                let pattern = format!("{before}{}{after}", middle.repeat(count));
                let Some(most) = most_memory(pattern.as_bytes(), true) else { continue };
                for with_groups in [false, true] {
                    // Other tests of this process allocate, too, but not each time.
                    let sizes = (0..5).filter_map(|_| {
                        let before = allocated();
                        let _regex = Regex::compile(pattern.as_bytes(), flags, with_groups).ok()?;
                        Some(allocated().saturating_sub(before))
                    });
                    let size = u64::try_from(sizes.min().unwrap_or_default()).unwrap();
                    assert!(
                        size <= most,
                        "{size} bytes for {pattern}, and no more than {most} were foreseen"
                    );
                }
            }
        }
        // Not much more for patterns as they come.
        let usual = most_memory(b"^(.*[.@])?host17\\.example\\.(net|com)$", true).unwrap();
        assert!(usual < 64 << 10, "{usual}");
    }

    #[test]
    fn complexity_copies_and_depth_refused() {
        for pattern in [
            "(a{1,200}){1,200}",
            "a{30000}",
            "((ab){10}){1000}",
            "x[]y]{20000}",
            "(a{,99}){,999}",
            "(abc)*{9999}",
        ] {
            assert!(is_too_complex(pattern.as_bytes(), true), "{pattern}");
        }
        for pattern in
            ["(a*){1,255}", "(a|){200}", "(|a){200}", "((a|b*)|(c|d*)){0,100}", "(a{0,100}){0,60}", "a*{255}"]
        {
            assert!(is_too_complex(pattern.as_bytes(), true), "{pattern}");
        }
        for pattern in ["(^){200}", r"(\1){200}", "(a?b?c?){0,40}", "((a?){9}){20}", "(()b*){200}"] {
            assert!(is_too_complex(pattern.as_bytes(), true), "{pattern}");
        }
        assert!(is_too_complex(br"\(a\{200\}\)\{200\}", false));
        assert!(is_too_complex(&b"(".repeat(251), true));
        assert!(is_too_complex(&b"a{99}".repeat(200), true));
    }
}
