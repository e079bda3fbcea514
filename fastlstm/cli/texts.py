"""What ``--help`` says of the commands."""

DESCRIPTION = """\
Runs recurrent networks that Keras saved, on the CPU, without TensorFlow: the numbers that the Keras which saved the file gives.
"""
EXAMPLES = """\
examples:
  fastlstm demo --plot sunspots.png
  fastlstm describe model.h5
  fastlstm predict model.h5 data.npy -o predictions.npy
  fastlstm evaluate model.h5 x.npy y.npy --plot out.svg
  fastlstm convert model.h5 model.fastlstm
  fastlstm describe weights.h5 --architecture model.json
  fastlstm describe model.h5 --svg model.svg
  fastlstm bench model.h5
  fastlstm serve model.h5

exit codes: 0 done, 1 failed (the reason is on standard error), 2 command not understood, 130 interrupted (Ctrl-C),
141 the reader of standard output went away; a file is replaced by a whole new one or left as it was, whatever the code
"""
CONVERT = """\
Writes a model that Keras saved as a .fastlstm file, which loads faster and needs no HDF5. Cases with their outputs are
recorded in it and checked first; 'fastlstm verify' reruns them wherever the file goes. SRC itself is never the target.
"""
CONVERT_EXAMPLES = """\
examples:
  {prog} model.h5 model.fastlstm
  {prog} weights.h5 model.fastlstm --architecture model.json
"""
DESCRIBE = "Lists a file's layers, shapes and parameters, the Keras that saved it, what runs natively, and what is unsupported and why."
DESCRIBE_EXAMPLES = """\
examples:
  fastlstm describe model.h5
  fastlstm describe model.h5 --json | python -m json.tool
  fastlstm describe model.h5 --svg model.svg         draws the graph of layers
  fastlstm inspect model.h5 --report                 for an issue: no weights, no paths; --anonymous: no names
  fastlstm inspect weights.h5 --draft model.json     weights alone: what can be told of the model, the rest marked

exit code 1 if the file holds something unsupported, or if no model can be told from weights alone
"""
PREDICT = """\
Computes a model's outputs for the rows of a file. A .csv file has one row of the batch a line: its values in the order of
the timesteps, the features of a timestep side by side; lines may differ in length where the model leaves the number of
timesteps open. A first line of names is skipped, and so are lines that begin with # and empty cells at the end of a line.
A .npz file holds an array for each input, under its name. Where MODEL takes texts, INPUT is a .txt file with a text a line,
a .csv file with a column called text, a .npy file of strings, or - for standard input. A file that Pipeline.save wrote is a
MODEL too: it takes raw texts or numbers, and gives labels with probabilities, or values in the units of the data.

Files of columns may be larger than memory: Parquet, Arrow, Feather, JSON lines, and CSV with a first line of names where
--columns says which of them the model reads. A folder, or a pattern in quotation marks, is computed file by file into the
folder OUT. What lasts long is kept in parts: the same command, given again after it was stopped, goes on from there.
They need pyarrow: pip install 'fastlstm[batch]'.
"""
PREDICT_EXAMPLES = """\
examples:
  fastlstm predict model.h5 data.npy                 prints a line for each row
  fastlstm predict model.h5 data.csv -o out.csv
  fastlstm predict model.h5 inputs.npz -o out.npz
  fastlstm predict model.h5 week.csv --series        the file is one sequence, a line is a timestep
  fastlstm predict model.h5 data.npy --custom my_layers.py
  fastlstm predict reviews.fastlstm texts.txt -o labels.csv
  fastlstm predict model.h5 in.parquet -o out.parquet --columns window --keep id
  fastlstm predict model.h5 in.csv -o out.parquet --columns open,high,low,close --nulls skip
  fastlstm predict model.h5 steps.parquet -o out.parquet --columns x,y --key machine --order time
  fastlstm predict model.h5 'days/*.parquet' -o scores/ --processes 4
  zcat in.jsonl.gz | fastlstm predict model.h5 - --input-format jsonl --columns x > out.csv
"""
EVALUATE = """\
Computes the loss and metrics of a model on data, as evaluate() of the Keras that saved the file does. The file says which, where the
model was compiled; --loss and --metrics say it otherwise. A line of a .csv file of targets has all numbers of a row.
"""
EVALUATE_EXAMPLES = """\
examples:
  fastlstm evaluate model.h5 x.npy y.npy
  fastlstm evaluate model.h5 x.npy y.npy --loss mse --metrics mae mape
  fastlstm evaluate model.h5 x.csv y.csv --plot out.svg    actual and predicted numbers, or a confusion matrix
  fastlstm evaluate model.h5 x.npy y.npy --sample-weight w.npy --json
"""
VERIFY = "Reruns the cases recorded in a .fastlstm file. A file of Keras has none: new ones are made and checked against float64."
VERIFY_EXAMPLES = """\
examples:
  fastlstm verify model.fastlstm
  fastlstm verify model.h5 --keras                   compares with an installed Keras of the file's generation
"""
SERVE = """\
Answers requests for models over HTTP: TensorFlow Serving's REST API, the Open Inference Protocol, WebSockets for streams, and a page at /.
A MODEL is a file, a SavedModel folder or a pipeline; or a folder of versions, 1/, 2/, ..., of which the newest is served: a new one is
loaded beside it, tried out and swapped in. A file that is replaced is loaded anew. Of one that is broken the earlier state stays.
It ends with Ctrl-C or SIGTERM, once all requests that were taken are answered.
"""
SERVE_EXAMPLES = """\
examples:
  fastlstm serve --demo                              then open http://127.0.0.1:8501/
  fastlstm serve model.h5                            as "model", for this machine alone
  fastlstm serve prices=prices/ reviews=reviews.fastlstm --label prices:stable=3
  fastlstm serve --models FOLDER --port 80 --host 0.0.0.0 --token-file token.txt --ssl-certfile cert.pem --ssl-keyfile key.pem
  fastlstm serve model.h5 --workers 4                four processes; --sequence-ports: with ports of their own, for sequences

needs what 'fastlstm[serve]' brings: pip install 'fastlstm[serve]'
"""
DEMO = "Forecasts sunspots with a network that Keras trained, and compares with what happened."
DEMO_EXAMPLES = """\
examples:
  fastlstm demo
  fastlstm demo --plot sunspots.png                  needs matplotlib: pip install 'fastlstm[plot]'
"""
BENCH = """\
Times a model on random inputs that suit it: fastlstm, and Keras and ONNX Runtime where they are installed. Their numbers are
compared first, then they take turns; the time of a call is a median. ONNX Runtime needs the model as an .onnx file, or
tf2onnx and Keras to make one.
"""
BENCH_EXAMPLES = """\
examples:
  fastlstm bench model.h5
  fastlstm bench model.h5 --vs keras --rows 1,64 --timesteps 200
  fastlstm bench model.h5 --vs onnxruntime --onnx model.onnx
  fastlstm bench model.h5 --plot bench.svg
"""
COMPLETION = "Prints what a shell needs to complete the commands, options and files of fastlstm."
COMPLETION_EXAMPLES = """\
examples:
  fastlstm completion bash > ~/.local/share/bash-completion/completions/fastlstm
  fastlstm completion zsh > ~/.zfunc/_fastlstm       where fpath has ~/.zfunc, before compinit
  fastlstm completion fish > ~/.config/fish/completions/fastlstm.fish

needs shtab: pip install 'fastlstm[cli]'
"""
