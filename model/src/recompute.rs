//! Layers whose insides are computed again on the way back instead of kept (gradient checkpointing: Chen et al., 2016). burn's own
//! strategy computes elementwise operations again and keeps what each product made, of every layer.

use burn::module::{Module as _, Param};
use burn::tensor::Tensor;

use crate::device::{Found, Input, Place, with_way_back};
use crate::layer::Layer;
use crate::names::{self, ParamPath};

/// `run(layer, x)`, of which the graph holds `x` alone. On the way back it is run once more, in a graph of its own that begins with the
/// parameters and `x`, so that the gradients are those of the plain way to the last bit.
///
/// # Shapes
/// `x`: `[n, d]`, and so is the result
pub(crate) fn recomputed(
    layer: &Layer,
    x: Tensor<2>,
    run: impl Fn(&Layer, Tensor<2>) -> Tensor<2> + Send + 'static,
) -> Tensor<2> {
    if !x.is_autodiff() {
        return run(layer, x);
    }
    let mut trained = Trained::default();
    names::visit(layer, &mut trained);
    let input = Input::from(&x);
    let place = input.place();
    let one = match (place, trained.one) {
        (_, Some(one)) => one,
        (Some(_), None) => input.clone(),
        (None, None) => return run(layer, x),
    };
    let (layer, x) = (layer.valid(), x.inner());
    // With autodiff, though of nothing: a layer may compute otherwise where it has none.
    let output = run(&layer, x.clone().autodiff()).inner();
    let places = trained.places;
    with_way_back(output, [input, one], move |grad, found| {
        let mut leaves = Leaves {
            places: places.into_iter(),
            made: Vec::new(),
        };
        let layer = names::map(layer, &mut leaves);
        let x = match place {
            Some(_) => x.autodiff().require_grad(),
            None => x.autodiff(),
        };
        let output = run(&layer, x.clone());
        let mut grads = (output * grad.autodiff()).sum().backward();
        for leaf in leaves.made {
            leaf(&mut grads, found);
        }
        if let (Some(place), Some(grad)) = (place, x.grad_remove(&mut grads)) {
            found.put(place, grad);
        }
    })
}

/// Where the gradients of a layer's parameters go, in their order, and one of those that have such a place.
#[derive(Default)]
struct Trained {
    places: Vec<Option<Place>>,
    one: Option<Input>,
}

impl names::Visit for Trained {
    fn float<const D: usize>(&mut self, _at: &ParamPath, param: &Param<Tensor<D>>) {
        let input = Input::from(&param.val());
        let place = input.place();
        self.places.push(place);
        if place.is_some() && self.one.is_none() {
            self.one = Some(input);
        }
    }
}

/// Hands on the gradient of a leaf.
type Leaf = Box<dyn FnOnce(&mut burn::tensor::Gradients, &mut Found)>;

/// Makes leaves of those parameters that have a place, in their order.
struct Leaves {
    places: std::vec::IntoIter<Option<Place>>,
    made: Vec<Leaf>,
}

impl names::Map for Leaves {
    fn float<const D: usize>(&mut self, _at: &ParamPath, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let place = self
            .places
            .next()
            .expect("the parameters are those that were seen");
        let (id, value, mapper) = param.consume();
        let value = value.inner().autodiff();
        let Some(place) = place else {
            return Param::from_mapped_value(id, value, mapper);
        };
        let leaf = value.require_grad();
        let own = leaf.clone();
        self.made.push(Box::new(move |grads, found| {
            if let Some(grad) = own.grad_remove(grads) {
                found.put(place, grad);
            }
        }));
        Param::from_mapped_value(id, leaf, mapper)
    }
}
