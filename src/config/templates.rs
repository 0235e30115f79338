//! The default prompts of each style: answer, integrate, project.

use super::schema::PromptStyle;

/// English text. The answer is asked for as the numeric check reads it.
const PLAIN: [&str; 3] = [
    "Question: {{ question }}\nAnswer:",
    "Question: {{ question }}\n\
     {% for candidate in candidates %}Candidate answer {{ loop.index }}: {{ candidate }}\n{% endfor %}\
     Final answer, after weighing the candidates:",
    "Question: {{ question }}\n\
     {% for candidate in candidates %}Candidate answer {{ loop.index }}: {{ candidate }}\n{% endfor %}\
     Final answer, after weighing the candidates: {{ integration }}\n\
     Another answer:",
];

/// English text as a user's message; the checkpoint's chat template stands around it.
const CHAT: [&str; 3] = [
    "{{ question }}\n\nPlease reason step by step, and put your final answer within \\boxed{}.",
    "{{ question }}\n\nHere are candidate answers; some may be wrong.\n\n\
     {% for candidate in candidates %}Candidate {{ loop.index }}:\n{{ candidate }}\n\n{% endfor %}\
     Weigh them and write one integrated answer. Please reason step by step, and put your final answer within \\boxed{}.",
    "{{ question }}\n\nHere are candidate answers; some may be wrong.\n\n\
     {% for candidate in candidates %}Candidate {{ loop.index }}:\n{{ candidate }}\n\n{% endfor %}\
     Integrated answer:\n{{ integration }}\n\n\
     Write one more answer of your own. Please reason step by step, and put your final answer within \\boxed{}.",
];

/// Marks between the parts, one token each in the built-in tokenizer.
const MARKS: [&str; 3] = [
    "<q>{{ question }}<a>",
    "<q>{{ question }}{% for candidate in candidates %}<a>{{ candidate }}{% endfor %}<final>",
    "<q>{{ question }}{% for candidate in candidates %}<a>{{ candidate }}{% endfor %}\
     <final>{{ integration }}<a>",
];

/// The answer, integrate and project prompts of a style.
pub(super) fn of(style: PromptStyle) -> [&'static str; 3] {
    match style {
        PromptStyle::Plain => PLAIN,
        PromptStyle::Chat => CHAT,
        PromptStyle::Marks => MARKS,
    }
}
