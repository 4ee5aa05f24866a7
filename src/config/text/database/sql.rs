//! What the three SQL types have in common: the query, and what becomes of its rows.

use mapkeep_template::{Dialect, DomainList, Side, SqlTemplate, Templates};

use super::values::Values;

/// The templates of an SQL table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlTable {
    /// The text of the query, also where older parameters stand for it.
    pub query: Vec<u8>,
    /// The text of `result_format`.
    pub result_format: Vec<u8>,
    /// Both, checked; the query is number 0.
    pub templates: Templates,
    /// The query with its parameters.
    pub statement: SqlTemplate,
    /// `expansion_limit`: no limit below 1.
    pub expansion_limit: i32,
    /// `domain`.
    pub domain: DomainList,
}

/// Reads it. `function` is the older form that PostgreSQL has beside the others.
pub(super) fn read(values: &mut Values<'_>, dialect: Dialect) -> Option<SqlTable> {
    let result_format = values.required("result_format", "%s");
    let expansion_limit = values.integer("expansion_limit", 0, 0, 0);
    let (query, name) = match values.optional("query") {
        Some(query) => (query, "query"),
        None => older(values, dialect)?,
    };
    let templates = templates(values, &[(&query, name)], (&result_format, "result_format"))?;
    let statement = SqlTemplate::of(templates.queries().first()?, dialect);
    let domain = domain(values)?;
    Some(SqlTable { query, result_format, templates, statement, expansion_limit, domain })
}

/// The query of the parameters that were there before `query`, and the first of them, for messages.
fn older(values: &mut Values<'_>, dialect: Dialect) -> Option<(Vec<u8>, &'static str)> {
    if dialect == Dialect::Pgsql
        && let Some(function) = values.optional("select_function")
    {
        return Some(([b"SELECT ", &*function, b"('%s')"].concat(), "select_function"));
    }
    let parts = ["table", "select_field", "where_field"].map(|name| values.optional(name));
    let extra = values.text("additional_conditions", "");
    let [Some(table), Some(select), Some(wanted)] = parts else {
        values.error("query", "it must have a value; write the SQL statement that finds a key");
        return None;
    };
    let query = [b"SELECT ", &*select, b" FROM ", &*table, b" WHERE ", &*wanted, b"='%s' ", &*extra].concat();
    Some((query, "table"))
}

/// Checks the templates of a table, each with the name of its parameter.
pub(super) fn templates(
    values: &mut Values<'_>,
    queries: &[(&[u8], &str)],
    result: (&[u8], &str),
) -> Option<Templates> {
    let texts: Vec<&[u8]> = queries.iter().map(|(text, _)| *text).collect();
    match Templates::compile(&texts, result.0) {
        Ok(templates) => Some(templates),
        Err((side, number, error)) => {
            let name = match side {
                Side::Query => queries.get(number).map_or("query", |(_, name)| *name),
                Side::Result => result.1,
            };
            values.bad_template(name, error);
            None
        }
    }
}

/// Reads `domain`.
pub(super) fn domain(values: &mut Values<'_>) -> Option<DomainList> {
    let text = values.text("domain", "");
    match DomainList::parse(&text, values.utf8()) {
        Ok(list) => Some(list),
        Err(error) => {
            values.error("domain", &error.to_string());
            None
        }
    }
}
