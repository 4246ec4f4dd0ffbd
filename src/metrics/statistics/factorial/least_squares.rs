//! Least squares where some columns may be linear combinations of others.

use super::dot;

/// A column adds nothing if less than this share of its length is left once earlier columns are taken out.
const DEPENDENT: f64 = 1e-7;

/// The QR decomposition of a matrix, column by column in their order, without the columns that depend on earlier ones.
///
/// Gram-Schmidt, done twice for each column, which leaves the basis orthogonal to machine precision.
///
/// Source: Giraud, Langou, Rozložník and van den Eshof 2005, *Rounding error analysis of the classical Gram-Schmidt
/// orthogonalization process*, for the second pass; Searle 1971, *Linear models*, chapter 5, for estimable functions.
pub(super) struct Decomposition {
    /// Orthonormal vectors, one for each independent column and as long as it.
    basis: Vec<Vec<f64>>,
    /// The coordinates of each column in the basis, as many as there were vectors when its turn came.
    coordinates: Vec<Vec<f64>>,
    /// The columns with a basis vector of their own, in order.
    independent: Vec<usize>,
}

impl Decomposition {
    pub(super) fn of(columns: impl IntoIterator<Item = Vec<f64>>) -> Self {
        let (basis, coordinates, independent) = (vec![], vec![], vec![]);
        let mut all = Self {
            basis,
            coordinates,
            independent,
        };
        columns.into_iter().for_each(|column| all.add(column));
        all
    }

    fn add(&mut self, mut column: Vec<f64>) {
        let length = dot(&column, &column).sqrt();
        let mut own = vec![0.0; self.basis.len()];
        for _ in 0..2 {
            for (vector, coordinate) in self.basis.iter().zip(&mut own) {
                let part = dot(vector, &column);
                *coordinate += part;
                subtract(&mut column, part, vector);
            }
        }
        let left = dot(&column, &column).sqrt();
        if left > DEPENDENT * length {
            column.iter_mut().for_each(|value| *value /= left);
            self.basis.push(column);
            self.independent.push(self.coordinates.len());
            own.push(left);
        }
        self.coordinates.push(own);
    }

    /// The number of independent columns.
    pub(super) fn rank(&self) -> usize {
        self.basis.len()
    }

    fn is_independent(&self, column: usize) -> bool {
        self.independent.binary_search(&column).is_ok()
    }

    fn dependent(&self) -> impl Iterator<Item = usize> {
        (0..self.coordinates.len()).filter(|&column| !self.is_independent(column))
    }

    /// The coordinates of the projection of `values` on the columns, and the residuals.
    pub(super) fn project(&self, values: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let mut left = values.to_vec();
        let coordinate = |vector: &Vec<f64>| {
            let part = dot(vector, &left);
            subtract(&mut left, part, vector);
            part
        };
        let coordinates = self.basis.iter().map(coordinate).collect();
        (coordinates, left)
    }

    /// The weights by which the coordinates of a projection add up to this linear combination of the coefficients, one
    /// number for each column. Their squares add up to its variance in units of that of the residuals.
    ///
    /// `None` if the combination cannot be estimated: several values of it fit equally well.
    pub(super) fn weights(&self, combination: &[f64]) -> Option<Vec<f64>> {
        let mut weights: Vec<f64> = Vec::with_capacity(self.rank());
        for (i, &column) in self.independent.iter().enumerate() {
            let own = &self.coordinates[column];
            let known = dot(&weights, &own[..i]);
            weights.push((combination[column] - known) / own[i]);
        }
        let agrees = |column: usize| {
            let own = &self.coordinates[column];
            let sum = dot(&weights[..own.len()], own);
            (sum - combination[column]).abs() < DEPENDENT.sqrt()
        };
        self.dependent().all(agrees).then_some(weights)
    }

    /// Each dependent column after the columns that it is a combination of.
    pub(super) fn dependencies(&self) -> Vec<Vec<usize>> {
        let group = |column: usize| {
            let shares = self.shares(&self.coordinates[column]);
            let shares = self.independent.iter().zip(shares);
            let involved = shares.filter(|(_, share)| share.abs() > DEPENDENT.sqrt());
            involved.map(|(&one, _)| one).chain([column]).collect()
        };
        self.dependent().map(group).collect()
    }

    /// How much of each independent column makes up a vector with these coordinates, by back substitution.
    fn shares(&self, coordinates: &[f64]) -> Vec<f64> {
        let mut left = coordinates.to_vec();
        for i in (0..left.len()).rev() {
            let own = &self.coordinates[self.independent[i]];
            left[i] /= own[i];
            let share = left[i];
            subtract(&mut left[..i], share, own);
        }
        left
    }
}

/// Subtracts `times` a vector, of which as many numbers count as there are in `from`.
fn subtract(from: &mut [f64], times: f64, vector: &[f64]) {
    for (value, part) in from.iter_mut().zip(vector) {
        *value -= times * part;
    }
}
