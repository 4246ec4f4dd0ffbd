//! Tables that a user wrote: TSV or CSV with a header.

/// A table whose columns are not known in advance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignTable {
    /// The names of the columns, without spaces around them.
    pub header: Vec<String>,
    /// Each row with its line, from 1; empty lines are left out.
    pub rows: Vec<(u64, Vec<String>)>,
}

impl ForeignTable {
    /// Reads a table of fields with a separator between them; a field that begins with a quote ends with one (RFC 4180).
    ///
    /// # Errors
    /// The line, and what is wrong: a row has more or fewer fields than the header, or a quoted field goes on over the end of
    /// its line, most likely because its quote is not closed.
    pub fn parse(text: &str, separator: u8) -> Result<Self, (u64, String)> {
        // The reader counts a CR and the LF behind it as ends of two different records.
        let text = text.replace("\r\n", "\n");
        for (line, fields) in (1..).zip(text.split('\n')) {
            if let Some(what) = wrong_quote(fields, separator) {
                return Err((line, what.to_owned()));
            }
        }
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(separator)
            .flexible(true)
            .from_reader(text.as_bytes());
        let header = reader.headers().map_err(|cause| (1, cause.to_string()))?;
        let header: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        let mut rows = vec![];
        for record in reader.records() {
            let record = record.map_err(|cause| (1, cause.to_string()))?;
            let line = record.position().map_or(0, csv::Position::line);
            let fields: Vec<String> = record.iter().map(|field| field.trim().to_owned()).collect();
            if fields.iter().all(String::is_empty) {
                continue;
            }
            if fields.len() != header.len() {
                let (own, columns) = (fields.len(), header.len());
                let plural = if own == 1 { "" } else { "s" };
                return Err((
                    line,
                    format!("the row has {own} column{plural}, the header has {columns}"),
                ));
            }
            rows.push((line, fields));
        }
        Ok(Self { header, rows })
    }

    /// The number of a column, from 0.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|own| own == name)
    }
}

/// What is wrong with the quotes of a line, if anything. A quote within a field that does not begin with one is text.
fn wrong_quote(line: &str, separator: u8) -> Option<&'static str> {
    let mut rest = line;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let doubled = quoted.replace("\"\"", "\u{0}\u{0}");
            let Some(end) = doubled.find('"') else {
                return Some("a field begins with a quote and does not end with one");
            };
            rest = &quoted[end + 1..];
            if !rest.is_empty() && !rest.starts_with(char::from(separator)) {
                return Some("a quoted field goes on behind its closing quote");
            }
        }
        let next = rest.find(char::from(separator))?;
        rest = &rest[next + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_their_lines_and_empty_ones_are_left_out() {
        let text = "a\tb\r\n1\t\"x \"\"y\"\"\"\r\n\r\n \t \r\n2\t z \r\n";
        let table = ForeignTable::parse(text, b'\t').expect("a table");
        assert_eq!(table.header, ["a", "b"]);
        let row = |line: u64, fields: [&str; 2]| (line, fields.map(str::to_owned).to_vec());
        assert_eq!(table.rows, [row(2, ["1", "x \"y\""]), row(5, ["2", "z"])]);
        assert_eq!((table.column("b"), table.column("c")), (Some(1), None));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let wrong = |text: &str| ForeignTable::parse(text, b',').expect_err("refused");
        let columns = "the row has 3 columns, the header has 2";
        assert_eq!(wrong("a,b\n1,2\n1,2,3\n"), (3, columns.to_owned()));
        let open = "a field begins with a quote and does not end with one";
        assert_eq!(wrong("a,b\n1,\"2\n3,4\n"), (2, open.to_owned()));
        assert_eq!(wrong("a,b\n1,2\n3,\"4"), (3, open.to_owned()));
        let behind = "a quoted field goes on behind its closing quote";
        assert_eq!(wrong("a,b\n\"Where\" was,Lima\n"), (2, behind.to_owned()));
        let fine = ForeignTable::parse("a,b\n5\" long,\"\"\"\"\n", b',').expect("a table");
        assert_eq!(fine.rows[0].1, ["5\" long", "\""]);
    }
}
