//! ZeRO, stage 1 (Rajbhandari et al., arXiv 1910.02054): each rank has all weights that it computes with, and of the optimiser's state
//! and of the weights in f32 behind 16 bits only its own share ([`Layout`]). Gradients are added up where their share is; there the
//! update is made, and the new weights go to all.
//!
//! burn hands out a backward pass's gradients when it has ended, so this begins after the last micro-batch.

use std::ops::Range;

use burn::module::Param;
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor, TensorData};
use gcpo_model::llama::Llama;
use gcpo_model::names::{self, ParamPath, with_value};
use gcpo_model::sums;

use super::layout::{Layout, Piece, Trained};
use super::optim::{GradNorms, Moments, Optimizer, Saved};
use crate::ranks::Ranks;

/// A rank's share of what is trained.
#[derive(Clone)]
pub(super) struct Shard {
    ranks: Ranks,
    layout: Layout,
    /// What new weights travel in.
    dtype: DType,
    /// Its weights in f32, by round, where the model's own are of less.
    master: Option<Vec<Vec<Tensor<1>>>>,
}

/// The gradients of a rank's share, added up over the ranks.
pub(super) struct Summed {
    /// Of each round, the block.
    blocks: Vec<Vec<f32>>,
    /// Whether any rank has a gradient of a parameter.
    known: Vec<bool>,
    /// The norms of the whole gradient.
    pub norms: GradNorms,
}

impl Shard {
    /// The share of this rank. `exact` is the model in f32, where `model` is of less and the optimiser is to update the former.
    /// `bucket`: bytes of gradients that are added up at a time, about.
    pub fn new(ranks: &Ranks, model: &Llama, exact: Option<&Llama>, bucket: usize) -> Self {
        let mut flat = Flat::default();
        names::visit(model, &mut flat);
        let layout = Layout::new(flat.trained, ranks.size(), bucket / size_of::<f32>());
        let first = flat.values.first().map_or(DType::F32, Tensor::dtype);
        let same = flat.values.iter().all(|value| value.dtype() == first);
        let mut shard = Self {
            ranks: ranks.clone(),
            layout,
            dtype: if same { first } else { DType::F32 },
            master: None,
        };
        shard.set_master(exact);
        shard
    }

    /// Takes this rank's share of a model in f32.
    pub fn set_master(&mut self, exact: Option<&Llama>) {
        self.master = exact.map(|exact| {
            let values = values(exact);
            self.own_rounds()
                .map(|pieces| pieces.iter().map(|piece| cut(&values, piece)).collect())
                .collect()
        });
    }

    /// The parts of parameters that this rank updates, by round.
    fn own_rounds(&self) -> impl Iterator<Item = Vec<Piece>> + '_ {
        (0..self.layout.rounds).map(|round| self.layout.pieces(round, self.ranks.rank()))
    }

    /// Adds gradients up over the ranks.
    pub fn sum(&self, model: &Llama, grads: GradientsParams) -> Summed {
        let mut own = Grads {
            grads,
            found: Vec::new(),
        };
        names::visit(model, &mut own);
        let mut grads: Vec<Option<Tensor<1>>> = own.found;
        let is_there: Vec<bool> = grads.iter().map(Option::is_some).collect();
        let mut known = vec![false; is_there.len()];
        for of_rank in self.ranks.all_gather(is_there) {
            known.iter_mut().zip(of_rank).for_each(|(known, is)| *known |= is);
        }
        let (mut blocks, mut squares) = (Vec::new(), vec![0f64; known.len()]);
        let mut reading: Option<(usize, Vec<f32>)> = None;
        for round in 0..self.layout.rounds {
            let mut numbers = vec![0f32; self.layout.block * self.ranks.size()];
            for piece in self.layout.pieces_of_round(round) {
                if reading.as_ref().is_none_or(|(of, _)| *of != piece.of) {
                    reading = grads[piece.of].take().map(|grad| (piece.of, self.read(grad)));
                }
                if let Some((_, grad)) = &reading {
                    numbers[piece.at..][..piece.range.len()].copy_from_slice(&grad[piece.range.clone()]);
                }
            }
            let block = self.ranks.reduce_scatter(numbers);
            for piece in self.layout.pieces(round, self.ranks.rank()) {
                let numbers = &block[piece.at..][..piece.range.len()];
                squares[piece.of] += numbers.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
            }
            blocks.push(block);
        }
        let norms = self.norms(squares, &known);
        Summed { blocks, known, norms }
    }

    /// The norms, of every rank's squares.
    fn norms(&self, squares: Vec<f64>, known: &[bool]) -> GradNorms {
        let mut sums = vec![0f64; squares.len()];
        for of_rank in self.ranks.all_gather(squares) {
            sums.iter_mut()
                .zip(of_rank)
                .for_each(|(sum, square)| *sum += square);
        }
        let names = self.layout.parameters.iter().map(|parameter| &parameter.name);
        let with_grad = names.zip(&sums).zip(known).filter(|(_, known)| **known);
        GradNorms {
            global: sums.iter().sum::<f64>().sqrt(),
            by_parameter: with_grad
                .map(|((name, sum), _)| (name.clone(), sum.sqrt()))
                .collect(),
        }
    }

    /// The numbers of a tensor. A device that fails here leaves the others waiting in the midst of a call: all end.
    fn read(&self, tensor: Tensor<1>) -> Vec<f32> {
        match tensor.try_into_vec_as() {
            Ok(numbers) => numbers,
            Err(error) => self.ranks.fail(&format!("the device failed: {error}")),
        }
    }

    /// Makes the update of this rank's share with the gradients times `factor`, and gives all ranks' to the model.
    pub fn update(
        &mut self,
        model: Llama,
        optimizer: &mut Optimizer,
        summed: Summed,
        factor: f64,
        lr: f64,
    ) -> Llama {
        let old = values(&model);
        let mut new: Vec<Filling> = old.iter().map(|value| Filling::new(value, self.dtype)).collect();
        let rounds: Vec<Vec<Piece>> = self.own_rounds().collect();
        for (round, (pieces, block)) in rounds.iter().zip(summed.blocks).enumerate() {
            let mut own = vec![0u8; self.layout.block * self.dtype.size()];
            for (at, piece) in pieces.iter().enumerate() {
                let value = match &self.master {
                    Some(master) => master[round][at].clone(),
                    None => cut(&old, piece),
                };
                let value = match summed.known[piece.of] {
                    true => {
                        let grad = block[piece.at..][..piece.range.len()].to_vec();
                        let grad = TensorData::new(grad, [piece.range.len()]);
                        let grad = Tensor::from_data(grad, (&value.device(), DType::F32));
                        let of = &self.layout.parameters[piece.of];
                        optimizer.step_piece(
                            (&of.name, piece.range.start),
                            &of.shape,
                            value,
                            grad,
                            (factor, lr),
                        )
                    }
                    false => value,
                };
                if let Some(master) = &mut self.master {
                    master[round][at] = value.clone();
                }
                let bytes = self.bytes(value.cast(self.dtype));
                own[piece.at * self.dtype.size()..][..bytes.len()].copy_from_slice(&bytes);
            }
            let all = self.ranks.all_gather_blocks(own);
            for piece in self.layout.pieces_of_round(round) {
                let bytes = piece.range.len() * self.dtype.size();
                new[piece.of].take(&all[piece.at * self.dtype.size()..][..bytes]);
            }
        }
        let mut new = new.into_iter().map(Filling::into_tensor);
        names::map(model, &mut Put { new: &mut new })
    }

    fn bytes(&self, tensor: Tensor<1>) -> Vec<u8> {
        match tensor.try_into_data() {
            Ok(data) => data.as_bytes().to_vec(),
            Err(error) => self.ranks.fail(&format!("the device failed: {error}")),
        }
    }

    /// Whether this rank's weights in f32 are finite; none are where the model's own are.
    pub fn master_non_finite(&self) -> Option<&str> {
        let rounds = self.own_rounds();
        let all = rounds.zip(self.master.iter().flatten());
        let mut pieces = all.flat_map(|(pieces, values)| pieces.into_iter().zip(values));
        let bad = pieces.find(|(_, value)| {
            let zero: f32 = self.read(sums::of_zeros((*value).clone()))[0];
            zero != 0.0 || zero.is_nan()
        });
        bad.map(|(piece, _)| self.layout.parameters[piece.of].name.as_str())
    }

    /// The weights in f32 of all ranks, for the first, in the place of those of `model`; the model, where they are what it has.
    pub fn whole_weights(&self, model: &Llama) -> Option<Llama> {
        let Some(master) = &self.master else {
            return self.ranks.is_first().then(|| model.clone());
        };
        let exact = self
            .ranks
            .is_first()
            .then(|| model.clone().cast(gcpo_model::dtype::Dtype::F32));
        let like = exact.as_ref().map(values).unwrap_or_default();
        let mut new: Vec<Filling> = like.iter().map(|value| Filling::new(value, DType::F32)).collect();
        for (round, own) in master.iter().enumerate() {
            let own: Vec<Vec<u8>> = own.iter().map(|value| self.bytes(value.clone())).collect();
            // Nobody but the first gets any.
            for (rank, of_rank) in self.ranks.gather(Bytes::all(own)).into_iter().enumerate() {
                for (piece, bytes) in self.layout.pieces(round, rank).iter().zip(of_rank) {
                    new[piece.of].take(&bytes.0);
                }
            }
        }
        let mut new = new.into_iter().map(Filling::into_tensor);
        exact.map(|exact| names::map(exact, &mut Put { new: &mut new }))
    }

    /// The optimiser's state of all ranks, for the first, as one rank alone has it.
    pub fn whole_state(&self, own: &Optimizer) -> Option<Saved> {
        let mut moments: Vec<Option<Moments>> = vec![None; self.layout.parameters.len()];
        for (round, pieces) in self.own_rounds().enumerate() {
            let read = |piece: &Piece| {
                let name = &self.layout.parameters[piece.of].name;
                own.moments(name, piece.range.start)
            };
            let own: Result<Vec<Option<Moments>>, _> = pieces.iter().map(read).collect();
            let own = own.unwrap_or_else(|error| self.ranks.fail(&error.to_string()));
            for (rank, of_rank) in self.ranks.gather(own).into_iter().enumerate() {
                for (piece, of_piece) in self.layout.pieces(round, rank).iter().zip(of_rank) {
                    match (&mut moments[piece.of], of_piece) {
                        (Some(all), Some(more)) => all.append(more),
                        (none, of_piece) => *none = of_piece,
                    }
                }
            }
        }
        let named = self.layout.parameters.iter().zip(moments);
        let saved = named.filter_map(|(parameter, moments)| {
            Some((parameter.name.clone(), (parameter.shape.clone(), moments?)))
        });
        self.ranks.is_first().then(|| saved.collect())
    }

    /// Which numbers of a parameter this rank updates.
    pub fn parts(&self, name: &str) -> Vec<Range<usize>> {
        let pieces = self.own_rounds().flatten();
        pieces
            .filter(|piece| self.layout.parameters[piece.of].name == name)
            .map(|piece| piece.range)
            .collect()
    }
}

/// A model's trained parameters, each flat.
fn values(model: &Llama) -> Vec<Tensor<1>> {
    let mut flat = Flat::default();
    names::visit(model, &mut flat);
    flat.values
}

fn cut(values: &[Tensor<1>], piece: &Piece) -> Tensor<1> {
    values[piece.of]
        .clone()
        .narrow(0, piece.range.start, piece.range.len())
}

#[derive(Default)]
struct Flat {
    trained: Vec<Trained>,
    values: Vec<Tensor<1>>,
}

/// Whether a parameter is trained.
fn is_trained<const D: usize>(value: &Tensor<D>) -> bool {
    !value.is_autodiff() || value.is_require_grad()
}

impl names::Visit for Flat {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: &Param<Tensor<D>>) {
        let value = param.val();
        if is_trained(&value) {
            let shape = value.shape();
            self.trained.push(Trained {
                name: at.name(),
                shape: shape.to_vec(),
            });
            self.values
                .push(value.without_autodiff().reshape([shape.num_elements()]));
        }
    }
}

struct Grads {
    grads: GradientsParams,
    found: Vec<Option<Tensor<1>>>,
}

impl names::Visit for Grads {
    fn float<const D: usize>(&mut self, _: &ParamPath, param: &Param<Tensor<D>>) {
        if is_trained(&param.val()) {
            let grad = self.grads.remove::<D>(param.id);
            self.found.push(grad.map(|grad| {
                let count = grad.shape().num_elements();
                grad.cast(DType::F32).reshape([count])
            }));
        }
    }
}

struct Put<'a> {
    new: &'a mut dyn Iterator<Item = Tensor<1>>,
}

impl names::Map for Put<'_> {
    fn float<const D: usize>(&mut self, _: &ParamPath, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !is_trained(&param.val()) {
            return param;
        }
        let new = self.new.next().expect("one for each parameter that is trained");
        with_value(param, |old| new.cast(old.dtype()).reshape(old.shape()))
    }
}

/// A parameter whose numbers come piece by piece, in their order; on the device when all are there.
struct Filling {
    like: Tensor<1>,
    dtype: DType,
    bytes: Vec<u8>,
    done: Option<Tensor<1>>,
}

impl Filling {
    fn new(like: &Tensor<1>, dtype: DType) -> Self {
        Self {
            like: like.clone(),
            dtype,
            bytes: Vec::new(),
            done: None,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let count = self.like.shape().num_elements();
        self.bytes
            .reserve_exact(count * self.dtype.size() - self.bytes.len());
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() == count * self.dtype.size() {
            let data = TensorData::from_bytes_vec(std::mem::take(&mut self.bytes), [count], self.dtype);
            self.done = Some(Tensor::from_data(data, (&self.like.device(), self.dtype)));
        }
    }

    /// The new numbers; the old ones where none came.
    fn into_tensor(self) -> Tensor<1> {
        self.done.unwrap_or(self.like)
    }
}

/// Bytes that travel as bytes, and not as a list of numbers.
#[derive(serde::Serialize, serde::Deserialize)]
struct Bytes(#[serde(with = "crate::ranks::bytes")] Vec<u8>);

impl Bytes {
    fn all(all: Vec<Vec<u8>>) -> Vec<Self> {
        all.into_iter().map(Self).collect()
    }
}

#[cfg(test)]
mod tests;
