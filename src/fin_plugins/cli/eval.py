"""`fin eval`: lm-eval's own command line with our tasks; our model classes with many adapters and resuming."""

import click


@click.command(
    "eval",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Run lm-eval with the fin tasks: every argument of lm-eval's, and a few more for --model fin_vllm and fin_hf.

    No start-up file is needed for this: the task folder goes in as `--include_path`, beside yours if you give one.

    \b
    Examples:
      fin eval --tasks fin_unseen --model hf --model_args pretrained=MODEL --apply_chat_template
      fin eval ls tasks

    fin_vllm and fin_hf score all labels of a document from one prefill, and take any number of LoRA adapters: the base
    and every adapter are scored on one engine, each with result and sample files as lm-eval alone would have written.

    \b
      fin eval --model fin_vllm --model_args pretrained=BASE --adapter fomc=PATH --adapter fpb=PATH \\
        --tasks fin --apply_chat_template --output_path results/

    \b
      --adapter NAME=PATH   a PEFT LoRA folder; give it once for each adapter
      --no-base             leave the base alone out
      --verify-adapters     first compare every adapter with PEFT on a probe prompt
      --any-base            accept an adapter whose recorded base model is another
      --prune               stop at a document's decision: same answer, fewer steps; the other labels get a bound
                            (fin_vllm; refused where a metric needs every label's score)
      --verbose             show the log lines and bars of lm-eval, transformers and vLLM too (any --model)
      --written NAME=FILE   list in FILE, as JSON, which files hold the results of the model NAME (`base`, or an
                            adapter's name), whether written now or before; `fin board FILE` reads it; repeatable

    With --output_path, answers are kept in OUTPUT/.fin-eval, one file for each model and task. The same command
    started again, after a kill or later, asks only what is missing, and nothing where all is there. What was answered
    with other weights, prompts, rows, arguments, dtype, engine, versions or device is never used.
    """  # noqa: D301 (click's mark, not a regex)
    if not arguments:
        raise click.exceptions.NoArgsIsHelpError(click.get_current_context())
    if set(arguments) & {"-h", "--help"} and not set(arguments) & {"ls", "validate"}:
        click.echo(click.get_current_context().get_help())
        click.echo("\nAll other arguments are lm-eval's own:\n")
    from fin_plugins.evaluation.quiet_logs import silence_libraries

    if "--verbose" not in arguments:
        silence_libraries()
    arguments = tuple(argument for argument in arguments if argument != "--verbose")
    from fin_plugins.evaluation.command import MODELS, check_model, model_of, read, split
    from fin_plugins.tasks.harness import run_lm_eval

    flags, rest = split(arguments)
    model = model_of(rest)
    if model in MODELS and not set(rest) & {"-h", "--help"}:
        from fin_plugins.evaluation.run import run

        run(read(flags, rest))
        return
    asks_for_a_run = not set(rest) & {"-h", "--help", "ls", "validate"}
    if model and asks_for_a_run:
        check_model(model)
    if flags:
        from fin_plugins.common.errors import FinError

        raise FinError(
            f"{flags} can be used with --model fin_vllm or fin_hf only (here: {model or 'none named'}): "
            "choose one of the two, or leave it out"
        )
    run_lm_eval(rest)
