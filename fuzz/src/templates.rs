//! The templates of database tables.

use mapkeep_template::{Dialect, Place, Results, SqlPart, SqlTemplate, Templates};

/// More than the texts below grow to in a sensible case, less than they could.
const LIMIT: usize = 100_000;

/// A query, a result format, a key and values, each up to a NUL byte.
pub fn template(data: &[u8]) {
    let mut fields = data.split(|byte| *byte == 0);
    let query = fields.next().unwrap_or_default();
    let (format, key) = (fields.next().unwrap_or(b"%s"), fields.next().unwrap_or_default());
    let templates = match Templates::compile(&[query], format) {
        Ok(templates) => templates,
        Err((_, _, error)) => {
            let reason = error.to_string();
            return assert!(reason.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{reason}");
        }
    };
    let Some(key) = templates.key(key) else { return };
    let mut stock = Vec::new();
    let fits = templates.query(0, &key, &mut doubled, LIMIT, &mut stock).is_ok();
    for dialect in [Dialect::Mysql, Dialect::Pgsql, Dialect::Sqlite] {
        let template = SqlTemplate::of(&templates.queries()[0], dialect);
        let variables = templates.queries()[0].variables().count();
        assert_eq!(template.occurrences().len(), variables);
        let plain = SqlTemplate::without_parameters(&templates.queries()[0], dialect);
        let statement = plain.statement(&key, &mut doubled, LIMIT);
        assert_eq!(statement.is_ok(), fits);
        if let Ok(statement) = statement {
            assert!(statement.parameters.is_empty() && statement.sql == stock);
        }
        let Ok(statement) = template.statement(&key, &mut doubled, LIMIT) else { continue };
        let size: usize = statement.parameters.iter().map(Vec::len).sum();
        assert!(size + statement.sql.len() <= LIMIT);
        if fits && template.is_fixed() {
            assert!(template.occurrences().iter().all(|found| matches!(found.place, Place::Parameter(_))));
            assert_eq!(written_out(template.parts(), &statement.parameters), stock);
        }
    }
    let mut results = Results::new(3, 1000);
    let added = fields.try_for_each(|value| templates.add(&key, Some(value), &mut results).map(|_| ()));
    if let (Ok(()), Some(result)) = (added, results.finish()) {
        assert!(!result.is_empty() && result.len() <= 1000);
    }
}

/// The statement with its parameters as literals: that of stock.
fn written_out(parts: &[SqlPart], parameters: &[Vec<u8>]) -> Vec<u8> {
    let (mut out, mut parameters) = (Vec::new(), parameters.iter());
    for part in parts {
        match part {
            SqlPart::Text(text) => out.extend_from_slice(text),
            SqlPart::Escaped(_) => panic!("a value that is escaped in a fixed statement"),
            SqlPart::Parameter(_) => {
                out.push(b'\'');
                doubled(parameters.next().expect("as many parameters as places for them"), &mut out);
                out.push(b'\'');
            }
        }
    }
    assert!(parameters.next().is_none());
    out
}

fn doubled(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        out.push(*byte);
        out.extend((*byte == b'\'').then_some(b'\''));
    }
}
