// QRNG.qs - Quantum Random Number Generator
//
// What helper.py runs. `quantum` of the node tests the bits that come from here, mixes them with the operating
// system's and gives out nothing else.
import Std.Arrays.Reversed;
import Std.Convert.ResultArrayAsInt;
import Std.Measurement.MResetEachZ;

/// A whole number of `nBits` bits, 1 to 62, the first qubit's highest.
@Config(IntegerComputations)
operation GenerateRandomInt(nBits : Int) : Int {
    use qubits = Qubit[nBits];
    ApplyToEach(H, qubits);
    let results = MResetEachZ(qubits);
    ResultArrayAsInt(Reversed(results))
}

/// `count` of them: one call of the interpreter costs more than one of the operation.
@Config(IntegerComputations)
operation GenerateRandomInts(count : Int, nBits : Int) : Int[] {
    mutable numbers = [];
    for _ in 1..count {
        set numbers += [GenerateRandomInt(nBits)];
    }
    numbers
}

/// The same without integers, which hardware of the base profile cannot compute.
operation GenerateRandomBits(nBits : Int) : Result[] {
    use qubits = Qubit[nBits];
    ApplyToEach(H, qubits);
    MResetEachZ(qubits)
}
