//! A revised simplex over columns that arrive one by one. Proposes; what must be certain is recomputed in integers.

/// How a row compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// At least the right-hand side.
    AtLeast,
    /// At most the right-hand side.
    AtMost,
    /// Exactly the right-hand side.
    Equal,
}

/// `minimise cost·x` under rows; all variables are non-negative.
#[derive(Clone, Debug)]
pub struct Simplex {
    rows: usize,
    rhs: Vec<f64>,
    columns: Vec<(f64, Vec<(usize, f64)>)>,
    basis: Vec<usize>,
    in_basis: Vec<bool>,
    inverse: Vec<f64>,
    values: Vec<f64>,
    since_factor: usize,
}

const TOLERANCE: f64 = 1e-9;
const REFACTOR_AFTER: usize = 128;

impl Simplex {
    /// Rows with their right-hand sides (non-negative); what no column covers costs `penalty` a unit.
    pub fn new(rows: &[(Sense, f64)], penalty: f64) -> Simplex {
        let m = rows.len();
        let mut lp = Simplex {
            rows: m,
            rhs: rows.iter().map(|(_, rhs)| *rhs).collect(),
            columns: Vec::new(),
            basis: Vec::new(),
            in_basis: Vec::new(),
            inverse: vec![0.0; m * m],
            values: rows.iter().map(|(_, rhs)| *rhs).collect(),
            since_factor: 0,
        };
        for (row, (sense, _)) in rows.iter().enumerate() {
            let own = match sense {
                Sense::AtMost => lp.add(0.0, vec![(row, 1.0)]),
                Sense::AtLeast | Sense::Equal => lp.add(penalty, vec![(row, 1.0)]),
            };
            if *sense == Sense::AtLeast {
                lp.add(0.0, vec![(row, -1.0)]);
            }
            lp.basis.push(own);
            lp.in_basis[own] = true;
            lp.inverse[row * m + row] = 1.0;
        }
        lp
    }

    /// Adds a column; returns its index.
    pub fn add(&mut self, cost: f64, entries: Vec<(usize, f64)>) -> usize {
        self.columns.push((cost, entries));
        self.in_basis.push(false);
        self.columns.len() - 1
    }

    /// Pivots until no column improves, or `limit` pivots were made.
    pub fn solve(&mut self, limit: usize) {
        let mut stalled = 0;
        for _ in 0..limit {
            let duals = self.duals();
            let Some(enter) = self.entering(&duals, stalled > 50) else { return };
            let direction = self.direction(enter);
            let Some(leave) = self.leaving(&direction, stalled > 50) else { return };
            let step = self.values[leave].max(0.0) / direction[leave];
            stalled = if step > TOLERANCE { 0 } else { stalled + 1 };
            self.pivot(enter, leave, &direction, step);
        }
    }

    fn entering(&self, duals: &[f64], first: bool) -> Option<usize> {
        let mut best = (-1e-7, None);
        for (j, (cost, entries)) in self.columns.iter().enumerate() {
            if self.in_basis[j] {
                continue;
            }
            let reduced = cost - entries.iter().map(|(r, v)| duals[*r] * v).sum::<f64>();
            if reduced < best.0 {
                best = (reduced, Some(j));
                if first {
                    break;
                }
            }
        }
        best.1
    }

    fn direction(&self, column: usize) -> Vec<f64> {
        let entries = &self.columns[column].1;
        self.inverse
            .chunks_exact(self.rows)
            .map(|row| entries.iter().map(|(r, v)| row[*r] * v).sum())
            .collect()
    }

    fn leaving(&self, direction: &[f64], lowest_index: bool) -> Option<usize> {
        let mut best: Option<(f64, usize)> = None;
        for (i, d) in direction.iter().enumerate().filter(|(_, d)| **d > TOLERANCE) {
            let ratio = self.values[i].max(0.0) / d;
            let better = match best {
                None => true,
                Some((r, b)) if lowest_index => {
                    ratio < r - TOLERANCE || (ratio <= r + TOLERANCE && self.basis[i] < self.basis[b])
                }
                Some((r, b)) => ratio < r - TOLERANCE || (ratio <= r + TOLERANCE && *d > direction[b]),
            };
            if better {
                best = Some((best.map_or(ratio, |(r, _)| r.min(ratio)), i));
            }
        }
        best.map(|(_, i)| i)
    }

    fn pivot(&mut self, enter: usize, leave: usize, direction: &[f64], step: f64) {
        let m = self.rows;
        let pivot = direction[leave];
        let (before, rest) = self.inverse.split_at_mut(leave * m);
        let (row, after) = rest.split_at_mut(m);
        row.iter_mut().for_each(|v| *v /= pivot);
        let used: Vec<usize> = (0..m).filter(|c| row[*c] != 0.0).collect();
        let others = before.chunks_exact_mut(m).enumerate();
        let later = after.chunks_exact_mut(m).enumerate().map(|(i, r)| (i + leave + 1, r));
        for (i, other) in others.chain(later) {
            let factor = direction[i];
            if factor != 0.0 {
                used.iter().for_each(|c| other[*c] -= factor * row[*c]);
            }
        }
        for (value, d) in self.values.iter_mut().zip(direction) {
            *value -= d * step;
        }
        self.values[leave] = step;
        self.in_basis[self.basis[leave]] = false;
        self.in_basis[enter] = true;
        self.basis[leave] = enter;
        self.since_factor += 1;
        if self.since_factor >= REFACTOR_AFTER {
            self.refactor();
        }
    }

    /// Inverts the basis afresh, so that errors do not pile up.
    fn refactor(&mut self) {
        let m = self.rows;
        let mut matrix = vec![0.0; m * m];
        for (c, column) in self.basis.iter().enumerate() {
            for (r, v) in &self.columns[*column].1 {
                matrix[r * m + c] = *v;
            }
        }
        if let Some(inverse) = invert(matrix, m) {
            self.values = inverse
                .chunks_exact(m)
                .map(|row| row.iter().zip(&self.rhs).map(|(a, b)| a * b).sum::<f64>().max(0.0))
                .collect();
            self.inverse = inverse;
        }
        self.since_factor = 0;
    }

    /// The price of each row.
    pub fn duals(&self) -> Vec<f64> {
        let mut duals = vec![0.0; self.rows];
        for (i, column) in self.basis.iter().enumerate() {
            let cost = self.columns[*column].0;
            if cost != 0.0 {
                let row = &self.inverse[i * self.rows..(i + 1) * self.rows];
                duals.iter_mut().zip(row).for_each(|(d, v)| *d += cost * v);
            }
        }
        duals
    }

    /// What the present basis costs.
    pub fn objective(&self) -> f64 {
        self.basis.iter().zip(&self.values).map(|(b, v)| self.columns[*b].0 * v).sum()
    }

    /// Columns in use with their values.
    pub fn solution(&self) -> Vec<(usize, f64)> {
        let mut used: Vec<_> = self
            .basis
            .iter()
            .zip(&self.values)
            .filter(|(_, v)| **v > TOLERANCE)
            .map(|(b, v)| (*b, *v))
            .collect();
        used.sort_by_key(|(b, _)| *b);
        used
    }
}

/// Gauss-Jordan with row pivoting; `None` for a singular matrix.
fn invert(mut a: Vec<f64>, m: usize) -> Option<Vec<f64>> {
    let mut inv = vec![0.0; m * m];
    (0..m).for_each(|i| inv[i * m + i] = 1.0);
    for c in 0..m {
        let p = (c..m).max_by(|x, y| a[x * m + c].abs().total_cmp(&a[y * m + c].abs()))?;
        if a[p * m + c].abs() < 1e-11 {
            return None;
        }
        if p != c {
            (0..m).for_each(|k| {
                a.swap(p * m + k, c * m + k);
                inv.swap(p * m + k, c * m + k);
            });
        }
        let scale = 1.0 / a[c * m + c];
        a[c * m..(c + 1) * m].iter_mut().for_each(|v| *v *= scale);
        inv[c * m..(c + 1) * m].iter_mut().for_each(|v| *v *= scale);
        let (pa, pi) = (a[c * m..(c + 1) * m].to_vec(), inv[c * m..(c + 1) * m].to_vec());
        for r in (0..m).filter(|r| *r != c) {
            let f = a[r * m + c];
            if f != 0.0 {
                a[r * m..(r + 1) * m].iter_mut().zip(&pa).for_each(|(x, y)| *x -= f * y);
                inv[r * m..(r + 1) * m].iter_mut().zip(&pi).for_each(|(x, y)| *x -= f * y);
            }
        }
    }
    Some(inv)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_corner_and_its_prices() {
        // Diet: 2 foods, protein >= 8, iron >= 9: cost 2a + 3b, a = (1, 2), b = (2, 1): optimum at a = 10/3, b = 7/3.
        let mut lp = Simplex::new(&[(Sense::AtLeast, 8.0), (Sense::AtLeast, 9.0)], 1e3);
        lp.add(2.0, vec![(0, 1.0), (1, 2.0)]);
        lp.add(3.0, vec![(0, 2.0), (1, 1.0)]);
        lp.solve(100);
        let total: f64 = lp.solution().iter().map(|(c, v)| lp.columns[*c].0 * v).sum();
        assert!((total - (2.0 * 10.0 / 3.0 + 3.0 * 7.0 / 3.0)).abs() < 1e-6);
        let y = lp.duals();
        assert!((y[0] * 8.0 + y[1] * 9.0 - total).abs() < 1e-6, "strong duality");
    }

    #[test]
    fn respects_supply_and_pays_the_penalty_for_the_rest() {
        let mut lp = Simplex::new(&[(Sense::AtLeast, 10.0), (Sense::AtMost, 3.0), (Sense::Equal, 1.0)], 50.0);
        let a = lp.add(1.0, vec![(0, 2.0), (1, 1.0)]);
        let b = lp.add(0.0, vec![(2, 1.0)]);
        lp.solve(100);
        let used = lp.solution();
        assert!(used.contains(&(a, 3.0)) && used.contains(&(b, 1.0)));
        assert!(used.iter().any(|(c, v)| lp.columns[*c].0 == 50.0 && (v - 4.0).abs() < 1e-6));
    }
}
