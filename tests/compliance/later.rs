//! Tables of patterns and of other tables, for each type that this build serves; and the same types without one.
//!
//! May: write files below the site's directory.

use crate::common::master::{Site, set_mode};
use crate::tables::Table;
use mapkeep_name::Kind;

const CIDR: &str = "# networks\n10.1.0.0/16 inside\n10.1.2.3 never\n!10.0.0.0/8 outside\n\
                    if 192.168.0.0/16\n192.168.1.1 one\n192.168.0.0/24 zero\nendif\n\
                    2001:db8::/32 six\n::1 loop\n0.0.0.0/0 rest\n";
const REGEXP: &str = "/^alice$/ x\n/^(.+)@example\\.org$/ to $1\n!/[a-z0-9]/ odd\nif /^user/\n\
                      /^user([0-9]+)/ number ${1}\nendif\n/two words/i w\n/^key with/ spaces $$\n/^%/ percent\n";
const PCRE: &str = "/^alice$/ x\n/^(.+)@example\\.org$/ to $1\nif !/^user/\n/^bob(@.*)?$/ b\nendif\n\
                    /(?<name>raw|list)/ $(1)\n/^m\\S+ller$/ u\n/^10\\.\\d+/x dotted\n";

/// The tables of each type that is served now.
pub fn make(site: &Site) -> Vec<Table> {
    let file = |kind: &str, name: &str, source: &str| {
        let path = site.path("tables").join(name);
        std::fs::write(&path, source).unwrap();
        set_mode(&path, 0o644);
        format!("{kind}:{}", path.display())
    };
    let directory = site.path("tables").display().to_string();
    let content = format!("{directory}/content");
    std::fs::write(&content, "the content\n").unwrap();
    let names = [
        file("cidr", "networks.cidr", CIDR),
        file("cidr", "empty.cidr", ""),
        file("cidr", "single.cidr", "10.1.2.3 x\n"),
        file("regexp", "rules.regexp", REGEXP),
        file("regexp", "empty.regexp", ""),
        file("regexp", "everything.regexp", "/./ all\n"),
        file("pcre", "rules.pcre", PCRE),
        file("pcre", "empty.pcre", ""),
        file("pcre", "everything.pcre", "/./s all\n"),
        "cidr:{{10.1.0.0/16 inside}, {::/0 six}}".to_string(),
        "regexp:{{/^alice$/ x}, {/^b(.*)$/ b $1}}".to_string(),
        "pcre:{{/^alice$/ x}, {/^b(.*)$/ b $1}}".to_string(),
        "randmap:{x}".to_string(),
        "randmap:{{two words}}".to_string(),
        "unionmap:{static:x, inline:{alice=y}}".to_string(),
        "unionmap:{inline:{alice=x}, inline:{bob=y}}".to_string(),
        "pipemap:{inline:{alice=bob}, inline:{bob=x}}".to_string(),
        "pipemap:{static:x, inline:{x=y}}".to_string(),
        "pipemap:{inline:{alice=bob}, fail:why}".to_string(),
        // Folding: of the answer of a member, and by the class of each.
        "pipemap:{inline:{alice=Bob}, inline:{bob=x}}".to_string(),
        "pipemap:{inline:{alice=BOB}, regexp:{{/BOB/i capitals}, {/bob/i folded}}}".to_string(),
        "unionmap:{inline:{alice=x}, regexp:{{/ALICE/i capitals}, {/alice/i folded}}}".to_string(),
        "unionmap:{regexp:{{/ALICE/i capitals}, {/alice/i folded}}, inline:{alice=x}}".to_string(),
        "pipemap:{static:ALICE, unionmap:{inline:{alice=x}, regexp:{{/ALICE/i capitals}, {/alice/i folded}}}}"
            .to_string(),
        "unionmap:{inline:{{m\u{fc}ller = u}}, static:x}".to_string(),
        // Values that are names of files.
        file("texthash", "names.texthash", &format!("alice {content}\nbob /nonexistent\n")),
        file("regexp", "names.regexp", &format!("/^alice$/ {content}\n")),
        file("pcre", "names.pcre", &format!("/^alice$/ {content}\n")),
        file("cidr", "names.cidr", &format!("10.0.0.0/8 {content}\n")),
        format!("static:{content}"),
        format!("inline:{{alice={content}}}"),
        format!("randmap:{{{content}}}"),
        format!("unionmap:{{inline:{{alice={content}}}, texthash:{directory}/names.texthash}}"),
        "internal:x".to_string(),
    ];
    let served = |name: &String| {
        // By type: the rule forms in the name itself are served as soon as the type is.
        let kind = name.split(':').next().unwrap_or_default();
        Kind::of(format!("{kind}:/x").as_bytes()) != Kind::Unknown
    };
    let (served, others): (Vec<String>, Vec<String>) = names.into_iter().partition(served);
    if !others.is_empty() {
        eprintln!("not served by this build, and not compared: {}", others.join(" "));
    }
    served.iter().map(|name| Table::new(name)).collect()
}
