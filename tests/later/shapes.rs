//! Tables made of others, some of them the stand-in's: their names, and what they must answer.

use crate::service::{Class, Place};

/// A table, or one made of others.
#[derive(Clone, Debug)]
pub enum Shape {
    /// One of the stand-in's, by its label.
    Later(&'static str),
    /// One of the stand-in's with rules in its name.
    Inline,
    /// The same value for any key, here.
    Fixed(&'static str),
    /// One of several values, of which there is one.
    Random(&'static str),
    Pipe(Vec<Shape>),
    Union(Vec<Shape>),
}

/// xorshift64*: the same seed, the same numbers.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % limit
    }
}

impl Shape {
    /// A composite table with this number of levels.
    pub fn of_depth(depth: usize, numbers: &mut Numbers) -> Shape {
        if depth == 0 {
            return match numbers.below(8) {
                0 => Shape::Fixed("s"),
                1 => Shape::Random("r"),
                2 => Shape::Inline,
                number => Shape::Later(["a", "b", "c"][number % 3]),
            };
        }
        let mut members: Vec<Shape> = (0..numbers.below(3)).map(|_| Shape::of_depth(0, numbers)).collect();
        // One member has the other levels.
        let place = numbers.below(members.len() + 1);
        members.insert(place, Shape::of_depth(depth - 1, numbers));
        if numbers.below(2) == 0 { Shape::Pipe(members) } else { Shape::Union(members) }
    }

    pub fn name(&self, place: &Place) -> String {
        let list = |members: &[Shape]| -> String {
            members.iter().map(|member| member.name(place)).collect::<Vec<_>>().join(",")
        };
        match self {
            Shape::Later(label) => place.later(label),
            Shape::Inline => "pcre:{{/x/ y}}".to_owned(),
            Shape::Fixed(value) => format!("static:{value}"),
            Shape::Random(value) => format!("randmap:{{{value}}}"),
            Shape::Pipe(members) => format!("pipemap:{{{}}}", list(members)),
            Shape::Union(members) => format!("unionmap:{{{}}}", list(members)),
        }
    }

    /// Its properties; those of a composite table are its first member's.
    pub fn class(&self) -> Class {
        match self {
            Shape::Later(_) | Shape::Inline | Shape::Random(_) => Class::Pattern,
            Shape::Fixed(_) => Class::Fixed,
            Shape::Pipe(members) | Shape::Union(members) => members[0].class(),
        }
    }

    /// What it has for a key of which no order makes the stand-in fail.
    pub fn value(&self, key: &str) -> Option<String> {
        let later = |label: &str| {
            let absent = key.split([';', '(', ')', ',']).any(|word| word == format!("{label}=absent"));
            (!absent).then(|| format!("{label}({key})"))
        };
        match self {
            Shape::Later(label) => later(label),
            Shape::Inline => later("inline"),
            Shape::Fixed(value) | Shape::Random(value) => Some((*value).to_owned()),
            Shape::Pipe(members) => members.iter().try_fold(key.to_owned(), |key, member| member.value(&key)),
            Shape::Union(members) => {
                let found: Vec<String> = members.iter().filter_map(|member| member.value(key)).collect();
                (!found.is_empty()).then(|| found.join(","))
            }
        }
    }
}
