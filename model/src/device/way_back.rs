//! Operations of burn's autodiff with a way back of their own, in tensors, on every backend.
//!
//! burn wants such an operation for each backend, in that backend's own types, and what its own operations need on the way back it
//! keeps. Here a function of tensors says what the gradients are. It may compute again what was not kept, in a graph of its own: burn
//! runs one inside another as long as they share no node, so what goes into it is made a leaf anew.

use std::fmt;
use std::sync::{Arc, Mutex};

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, BackendTensor, DispatchKindConversion, DispatchTensor, DispatchTensorKind};
use burn::tensor::{GradientCheckpointingStrategy, Tensor};

/// `$body`, where type `$B` is the backend of a tensor with autodiff.
macro_rules! on_its_backend {
    ($tensor:expr, $B:ident => $body:expr) => {
        match &$tensor.kind {
            DispatchTensorKind::Autodiff(kind) => match kind.as_ref() {
                DispatchTensorKind::Flex(_) => {
                    type $B = burn::backend::Flex;
                    $body
                }
                #[cfg(any(feature = "cuda", feature = "metal", feature = "vulkan", feature = "wgpu"))]
                DispatchTensorKind::Cube(_) => {
                    type $B = burn::backend::Cube;
                    $body
                }
                #[cfg(feature = "ndarray")]
                DispatchTensorKind::NdArray(_) => {
                    #[allow(deprecated, reason = "burn keeps this backend, and users were promised it")]
                    type $B = burn::backend::NdArray;
                    $body
                }
                DispatchTensorKind::Autodiff(_) => unreachable!("burn wraps a tensor once"),
            },
            _ => panic!("a tensor with autodiff is asked for"),
        }
    };
}

/// What an operation begins with.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    tensor: DispatchTensor,
    /// burn's own for its operations; a backend's types name one.
    strategy: GradientCheckpointingStrategy,
}

impl<const D: usize> From<&Tensor<D>> for Input {
    /// # Panics
    /// The tensor has no autodiff.
    fn from(tensor: &Tensor<D>) -> Self {
        let strategy = tensor.gradient_checkpointing_strategy();
        let tensor = tensor
            .clone()
            .with_gradient_checkpointing_strategy(GradientCheckpointingStrategy::Disabled);
        Self {
            strategy: strategy.expect("a tensor with autodiff has one"),
            tensor: tensor.into_dispatch(),
        }
    }
}

impl Input {
    /// Where its gradient goes; none is wanted if there is no such place.
    pub fn place(&self) -> Option<Place> {
        on_its_backend!(self.tensor, B => {
            let tensor = self.clone().on::<B>();
            tensor.is_tracked().then(|| Place(tensor.id()))
        })
    }

    /// The tensor in the types of its backend.
    fn on<B: Backend>(self) -> FloatTensor<Autodiff<B>>
    where
        DispatchTensor: DispatchKindConversion<Autodiff<B>>,
    {
        let tensor = <DispatchTensor as DispatchKindConversion<Autodiff<B>>>::try_into_backend(self.tensor);
        tensor.expect("all inputs are on one backend").float()
    }
}

/// Where a tensor's gradient goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(NodeId);

/// Gradients that a way back found.
#[derive(Default)]
pub(crate) struct Found(Vec<(Place, DispatchTensor)>);

impl Found {
    /// A gradient, of the shape of what it is of. Several of one tensor are added up.
    pub fn put<const D: usize>(&mut self, place: Place, grad: Tensor<D>) {
        self.0.push((place, grad.without_autodiff().into_dispatch()));
    }
}

/// `output` as what an operation makes of its inputs. `way_back` puts the gradients of what it was made from, given that of `output`: of
/// inputs, and of leaves of the graph that need not be among them. At least one input, or no gradient comes.
///
/// # Shapes
/// `output`: any, without autodiff; the gradient that is given is of its shape, and without autodiff
///
/// # Panics
/// An input has no autodiff, or they are not all on the backend of `output`.
pub(crate) fn with_way_back<const D: usize, const N: usize>(
    output: Tensor<D>,
    inputs: [Input; N],
    way_back: impl FnOnce(Tensor<D>, &mut Found) + Send + 'static,
) -> Tensor<D> {
    let way_back: WayBack =
        Box::new(|grad: DispatchTensor, found: &mut Found| way_back(Tensor::from_dispatch(grad), found));
    let state = Once(Arc::new(Mutex::new(Some(way_back))));
    let first = inputs[0].clone();
    let output = output.into_dispatch();
    let output = on_its_backend!(first.tensor, B => attach::<B, N>(output, inputs, state));
    Tensor::from_dispatch(output).with_gradient_checkpointing_strategy(first.strategy)
}

fn attach<B: Backend, const N: usize>(
    output: DispatchTensor,
    inputs: [Input; N],
    state: Once,
) -> DispatchTensor
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    let output = primitive::<B>(output);
    let guards = inputs.map(|input| input.on::<B>().node());
    let prepared = Backward::<B, N>::prepare::<NoCheckpointing>(Operation, guards).compute_bound();
    let output = match prepared.stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(state, output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    <DispatchTensor as DispatchKindConversion<Autodiff<B>>>::from_backend(BackendTensor::Float(output))
}

fn primitive<B: Backend>(tensor: DispatchTensor) -> FloatTensor<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let tensor = <DispatchTensor as DispatchKindConversion<B>>::try_into_backend(tensor);
    tensor
        .expect("the output is without autodiff, on the inputs' backend")
        .float()
}

type WayBack = Box<dyn FnOnce(DispatchTensor, &mut Found) + Send>;

/// A way back, which is gone once.
#[derive(Clone)]
struct Once(Arc<Mutex<Option<WayBack>>>);

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once")
    }
}

#[derive(Debug)]
struct Operation;

impl<B: Backend, const N: usize> Backward<B, N> for Operation
where
    DispatchTensor: DispatchKindConversion<B>,
{
    type State = Once;

    fn backward(self, ops: Ops<Once, N>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let given = BackendTensor::Float(grads.consume::<B>(&ops.node));
        let way_back = ops.state.0.lock().ok().and_then(|mut state| state.take());
        let way_back = way_back.expect("a graph is gone through once");
        let mut found = Found::default();
        way_back(
            <DispatchTensor as DispatchKindConversion<B>>::from_backend(given),
            &mut found,
        );
        for (place, grad) in found.0 {
            grads.register::<B>(place.0, primitive::<B>(grad));
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Tensor, TensorData};

    use super::{Input, with_way_back};

    fn tensor(values: &[f32]) -> Tensor<1> {
        let data = TensorData::new(values.to_vec(), [values.len()]);
        Tensor::from_data(data, &crate::test_device()).autodiff()
    }

    fn values(tensor: Tensor<1>) -> Vec<f32> {
        tensor.try_into_vec_as().unwrap()
    }

    #[test]
    fn gradients_go_to_inputs_and_to_leaves() {
        let (a, b) = (
            tensor(&[2.0, 3.0]).require_grad(),
            tensor(&[5.0, 7.0]).require_grad(),
        );
        let x = a.clone() * 10.0;
        let (input, leaf) = (Input::from(&x), Input::from(&b).place().unwrap());
        let place = input.place().unwrap();
        let [x_inner, b_inner] = [x.clone(), b.clone()].map(Tensor::inner);
        let product = x_inner.clone() * b_inner.clone();
        // x · b, computed again in a graph of its own.
        let product = with_way_back(product, [input], move |grad, found| {
            let [x, b] = [x_inner, b_inner].map(|tensor| tensor.autodiff().require_grad());
            let grads = (x.clone() * b.clone() * grad.autodiff()).sum().backward();
            found.put(place, x.grad(&grads).unwrap());
            found.put(leaf, b.grad(&grads).unwrap());
        });
        assert_eq!(values(product.clone().inner()), [100.0, 210.0]);
        let grads = (product * tensor(&[1.0, -1.0]) + x).sum().backward();
        assert_eq!(values(a.grad(&grads).unwrap()), [60.0, -60.0]);
        assert_eq!(values(b.grad(&grads).unwrap()), [20.0, -30.0]);
    }

    #[test]
    fn no_gradient_is_wanted_of_a_constant() {
        let x = tensor(&[1.0]);
        assert!(Input::from(&x).place().is_none());
        let output = with_way_back(x.clone().inner(), [Input::from(&x)], |_, _| unreachable!());
        assert!(output.is_autodiff() && !output.is_tracked());
    }
}
