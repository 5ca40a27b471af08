// Stands in for a DLL that wine 8 lacks, of which the standard library uses one function. For tests
// only: sesame itself takes its randomness from bcrypt.dll or from what Windows has under this name.
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T len)
{
    while (len > 0) {
        ULONG part = len > 0x10000 ? 0x10000 : (ULONG)len;
        if (!SystemFunction036(data, part))
            return FALSE;
        data += part;
        len -= part;
    }
    return TRUE;
}
