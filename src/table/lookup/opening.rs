//! Opening a table in steps.
//!
//! Purpose: whoever serves clients meanwhile can go back to them. May: what `Table` may.

use std::fmt;

use mapkeep_name::Kind;

use mapkeep_query::TableError;
use mapkeep_table_format::text::texthash;
use mapkeep_table_format::{Complaint, Portion, accounts, bdb, cdb, lmdb};

use crate::rules::pcre::Pcre;
use crate::rules::regexp::Posix;
use crate::rules::{cidr, patterns};
use crate::{Content, Table};

/// A table that is being opened from a snapshot.
pub struct Opening<B> {
    kind: Kind,
    bytes: B,
    building: Building,
}

/// How far the opening has come.
enum Building {
    /// All of it, when it is asked for: a head is read, or the names of some accounts.
    AtOnce,
    /// Of its index, which takes a second for some millions of lines.
    Texthash(texthash::Builder),
    /// Of its rules, which take a second at worst.
    Cidr(cidr::Building),
    Regexp(patterns::Building<Posix>),
    Pcre(patterns::Building<Pcre>),
}

/// The result of a step.
#[derive(Debug)]
pub enum Opened<B> {
    /// The table is open.
    Table(Table<B>),
    /// There is more to do.
    Later(Opening<B>),
}

impl<B: AsRef<[u8]>> Opening<B> {
    /// Begins with a table of a kind that has a file. Nothing is looked at yet.
    pub fn new(kind: Kind, bytes: B) -> Opening<B> {
        Opening { kind, bytes, building: Building::new(kind) }
    }

    /// Continues until it is open, or until `enough` returns true, which is called after about 64 KiB of work each
    /// time, and after each pattern. Complaints about lines are added to `complaints`, which is the same list in each
    /// step.
    ///
    /// # Errors
    /// As for [`Table::from_snapshot`].
    pub fn step(
        self,
        complaints: &mut Vec<Complaint>,
        enough: &dyn Fn() -> bool,
    ) -> Result<Opened<B>, TableError> {
        let Opening { kind, bytes, building } = self;
        let mut portion = Portion::until(enough);
        let (text, portion) = (bytes.as_ref(), &mut portion);
        let built = match building {
            Building::AtOnce => Ok(at_once(kind, bytes)?),
            Building::Texthash(builder) => match builder.step(text, complaints, portion)? {
                Ok(index) => Ok(Content::Texthash(index, bytes)),
                Err(builder) => Err((Building::Texthash(builder), bytes)),
            },
            rules => rules.step(text, complaints, portion)?.map_err(|rules| (rules, bytes)),
        };
        Ok(match built {
            Ok(content) => Opened::Table(Table { kind, content, incomplete: false }),
            Err((building, bytes)) => Opened::Later(Opening { kind, bytes, building }),
        })
    }
}

impl Building {
    fn new(kind: Kind) -> Building {
        match kind {
            Kind::Texthash => Building::Texthash(texthash::Builder::default()),
            Kind::Cidr => Building::Cidr(cidr::Building::new()),
            Kind::Regexp => Building::Regexp(patterns::Building::new()),
            Kind::Pcre => Building::Pcre(patterns::Building::new()),
            _ => Building::AtOnce,
        }
    }

    /// Goes on with a table of rules, which keeps nothing of its text.
    fn step<B>(
        self,
        text: &[u8],
        complaints: &mut Vec<Complaint>,
        portion: &mut Portion<'_>,
    ) -> Result<Result<Content<B>, Building>, TableError> {
        Ok(match self {
            Building::Cidr(rules) => {
                rules.step(text, complaints, portion)?.map(Content::Cidr).map_err(Building::Cidr)
            }
            Building::Regexp(rules) => {
                rules.step(text, complaints, portion)?.map(Content::Regexp).map_err(Building::Regexp)
            }
            Building::Pcre(rules) => {
                rules.step(text, complaints, portion)?.map(Content::Pcre).map_err(Building::Pcre)
            }
            Building::AtOnce | Building::Texthash(_) => return Err(TableError::WrongKind),
        })
    }
}

/// A table of rules from its text, in one go.
pub(crate) fn rules<B>(
    kind: Kind,
    text: &[u8],
    complaints: &mut Vec<Complaint>,
) -> Result<Content<B>, TableError> {
    let mut building = Building::new(kind);
    loop {
        match building.step(text, complaints, &mut Portion::whole())? {
            Ok(content) => return Ok(content),
            Err(later) => building = later,
        }
    }
}

/// A table that is opened in one go.
fn at_once<B: AsRef<[u8]>>(kind: Kind, bytes: B) -> Result<Content<B>, TableError> {
    let data = bytes.as_ref();
    Ok(match kind {
        Kind::Hash => Content::Bdb(bdb::Head::read(bdb::Method::Hash, data)?, bytes),
        Kind::Btree => Content::Bdb(bdb::Head::read(bdb::Method::Btree, data)?, bytes),
        Kind::Lmdb => Content::Lmdb(lmdb::Head::read(data)?, bytes),
        Kind::Cdb => Content::Cdb(cdb::Head::read(data)?, bytes),
        Kind::Passwd | Kind::Group => Content::Accounts(accounts::build(data)?, bytes),
        Kind::Texthash
        | Kind::Cidr
        | Kind::Regexp
        | Kind::Pcre
        | Kind::Static
        | Kind::Inline
        | Kind::Fail
        | Kind::Internal
        | Kind::Environ
        | Kind::Randmap
        | Kind::Unionmap
        | Kind::Pipemap
        | Kind::Debug
        | Kind::Socketmap
        | Kind::Tcp
        | Kind::Unknown => return Err(TableError::WrongKind),
    })
}

/// Shows the kind and never the entries.
impl<B> fmt::Debug for Opening<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").field("kind", &self.kind).finish_non_exhaustive()
    }
}
