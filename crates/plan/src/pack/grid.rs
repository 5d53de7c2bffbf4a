//! The best filling of one NUMA node for every size of node at once: dynamic programming over a grid.
//!
//! Exact, because each axis counts in the greatest common divisor of the shapes' sizes.

use super::{DIMS, HostType, Res, Shape};

/// Cells above which the table is not built.
const MOST_CELLS: i64 = 1 << 17;
/// "Nothing more goes in here."
const NONE: u16 = u16::MAX;

/// The sizes of a grid: fixed for a problem.
#[derive(Clone, Debug)]
pub struct Axes {
    unit: Res,
    cells: [usize; DIMS],
    stride: [usize; DIMS],
    total: usize,
}

/// Best values for prices of shapes.
#[derive(Clone, Debug)]
pub struct Table {
    value: Vec<i64>,
    choice: Vec<u16>,
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Axes {
    /// Axes for pieces that go into nodes of these host types; `None` when the table would be too large.
    pub fn of(pieces: &[Res], hosts: &[(HostType, u32)]) -> Option<Axes> {
        let (mut unit, mut cells, mut total) = ([0; DIMS], [1; DIMS], 1_i64);
        for d in 0..DIMS {
            unit[d] = pieces.iter().fold(0, |g, p| gcd(g, p[d]));
            let most = hosts.iter().flat_map(|(h, _)| &h.nodes).map(|n| n[d].max(0)).max().unwrap_or(0);
            let steps = if unit[d] == 0 { 0 } else { most / unit[d] };
            cells[d] = usize::try_from(steps + 1).ok()?;
            total = total.checked_mul(steps + 1)?;
            if total > MOST_CELLS {
                return None;
            }
        }
        let mut stride = [1; DIMS];
        for d in (0..DIMS - 1).rev() {
            stride[d] = stride[d + 1] * cells[d + 1];
        }
        Some(Axes { unit, cells, stride, total: total as usize })
    }

    /// The cell of a node with this much left.
    pub fn cell(&self, node: &Res) -> usize {
        (0..DIMS)
            .map(|d| {
                let steps = if self.unit[d] == 0 { 0 } else { (node[d].max(0) / self.unit[d]) as usize };
                steps.min(self.cells[d] - 1) * self.stride[d]
            })
            .sum()
    }

    fn steps(&self, piece: &Res) -> [usize; DIMS] {
        std::array::from_fn(|d| if self.unit[d] == 0 { 0 } else { (piece[d] / self.unit[d]) as usize })
    }

    /// Fills the table for shapes `(index, size)` at `prices` (index by shape).
    pub fn fill(&self, shapes: &[(usize, Res)], prices: &[i64]) -> Table {
        let mut table = Table { value: vec![0; self.total], choice: vec![NONE; self.total] };
        let pieces: Vec<_> = shapes
            .iter()
            .filter(|(s, _)| prices[*s] > 0)
            .map(|(s, res)| {
                let steps = self.steps(res);
                let back: usize = (0..DIMS).map(|d| steps[d] * self.stride[d]).sum();
                (*s as u16, steps, back, prices[*s])
            })
            .collect();
        let mut at = [0_usize; DIMS];
        for cell in 0..self.total {
            let (mut best, mut choice) = (0, NONE);
            for (_, stride) in at.iter().zip(self.stride).filter(|(at, _)| **at > 0) {
                if table.value[cell - stride] > best {
                    (best, choice) = (table.value[cell - stride], table.choice[cell - stride]);
                }
            }
            // A step down keeps the choice of the smaller node: the walk back only needs what was put in.
            for (shape, steps, back, price) in &pieces {
                if (0..DIMS).all(|d| at[d] >= steps[d]) {
                    let value = table.value[cell - back] + price;
                    if value > best {
                        (best, choice) = (value, *shape);
                    }
                }
            }
            table.value[cell] = best;
            table.choice[cell] = choice;
            for d in (0..DIMS).rev() {
                at[d] += 1;
                if at[d] < self.cells[d] {
                    break;
                }
                at[d] = 0;
            }
        }
        table
    }

    /// What the best filling of a node puts in, by shape.
    pub fn filling(&self, table: &Table, node: &Res, shapes: &[Shape], out: &mut Vec<usize>) {
        let mut left = *node;
        loop {
            let choice = table.choice[self.cell(&left)];
            if choice == NONE {
                return;
            }
            let res = shapes[usize::from(choice)].res;
            (0..DIMS).for_each(|d| left[d] -= res[d]);
            out.push(usize::from(choice));
        }
    }
}

impl Table {
    /// The value of the best filling at a cell.
    pub fn at(&self, cell: usize) -> i64 {
        self.value[cell]
    }
}
