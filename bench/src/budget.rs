//! Where the whole of something goes, part by part: what a call takes adds up to what was measured.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Parts that add up to a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Budget {
    /// What is divided, and how it was found out.
    pub(crate) title: String,
    /// What each value of a part is, with its unit. The first is the whole of the part.
    pub(crate) columns: Vec<String>,
    pub(crate) parts: Vec<Part>,
}

/// A part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// As many as there are columns.
    pub(crate) values: Vec<f64>,
}

impl Budget {
    /// The sums of the parts, column by column.
    pub(crate) fn sums(&self) -> Vec<f64> {
        (0..self.columns.len())
            .map(|column| self.parts.iter().map(|part| part.values[column]).sum())
            .collect()
    }

    /// All parts and their sum as cells.
    pub(crate) fn rows(&self) -> Vec<(String, Vec<String>)> {
        let sums = self.sums();
        let row = |name: &str, values: &[f64]| {
            let part = 100.0 * values[0] / sums[0];
            let mut cells: Vec<String> = values.iter().map(|it| format!("{it:.1}")).collect();
            cells.push(format!("{part:.0} %"));
            (name.to_owned(), cells)
        };
        let parts = self.parts.iter().map(|it| row(&it.name, &it.values));
        parts.chain([row("together", &sums)]).collect()
    }

    /// What stands over the cells.
    pub(crate) fn heads(&self) -> Vec<&str> {
        let columns = self.columns.iter().map(String::as_str);
        columns.chain(["part of it"]).collect()
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CELL: usize = 16;
        let rows = self.rows();
        let widths = rows.iter().map(|(name, _)| name.chars().count());
        let width = widths.max().unwrap_or_default();
        writeln!(f, "  {}", self.title)?;
        write!(f, "  {:width$}", "")?;
        for head in self.heads() {
            write!(f, "{head:>CELL$}")?;
        }
        writeln!(f)?;
        for (name, cells) in rows {
            write!(f, "  {name:width$}")?;
            for cell in cells {
                write!(f, "{cell:>CELL$}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_shown_with_their_sum() {
        let part = |name: &str, values: [f64; 2]| Part {
            name: name.to_owned(),
            values: values.to_vec(),
        };
        let budget = Budget {
            title: "an event".to_owned(),
            columns: vec!["all, µs".to_owned(), "kernel, µs".to_owned()],
            parts: vec![part("lane", [1.0, 0.0]), part("log", [3.0, 2.5])],
        };
        assert_eq!(budget.sums(), [4.0, 2.5]);
        let shown = budget.to_string();
        for expected in ["an event", "kernel, µs", "75 %", "together", "4.0"] {
            assert!(shown.contains(expected), "{expected}: {shown}");
        }
    }
}
